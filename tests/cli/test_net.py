# SPDX-License-Identifier: GPL-2.0-or-later
"""-netdev, -nic, -net and their commands: mistakes are one line that says what to do."""

import os
import re
import socket
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "hw"))
sys.path.insert(0, os.path.dirname(HERE))
import hmp  # pylint: disable=wrong-import-position
from qtest import VIREO, Failure, QTest, check, main, skip  # pylint: disable=wrong-import-position

SLOW = float(os.environ.get("SLOW", "1"))


def run(*args):
    return subprocess.run([VIREO, "-display", "none", "-accel", "interp", "-S"] + list(args),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=60, check=False)


def need_user():
    if b"user" not in run("-netdev", "help").stdout:
        skip("built without libslirp")


def fails(want, *args):
    """Exit status 1 and one line with want in it."""
    r = run("-nodefaults", *args)
    text = r.stderr.decode()
    lines = [l for l in text.splitlines() if "running on" not in l]
    if r.returncode != 1 or len(lines) != 1 or want not in lines[0]:
        raise Failure("%s: want status 1 and one line with '%s', got %d:\n%s" %
                      (" ".join(args), want, r.returncode, text))


def test_help():
    for args, want in ((("-netdev", "help"), "hubport"), (("-netdev", "hubport,help"), "hubid=N"),
                       (("-nic", "model=help"), "e1000"), (("-net", "nic,model=help"), "e1000"),
                       (("-device", "e1000,help"), "bootindex")):
        r = run(*args)
        check("%s: status" % (args,), 0, r.returncode)
        check("%s has %s" % (args, want), True, want in r.stdout.decode())


def test_mistakes():
    fails("has a type", "-netdev", "id=n")
    fails("did you mean 'hubport'", "-netdev", "hubprt,id=n")
    fails("needs an id", "-netdev", "hubport,hubid=1")
    fails("hubid=0", "-netdev", "hubport,id=n")
    fails("already", "-netdev", "hubport,id=n,hubid=1", "-netdev", "hubport,id=n,hubid=1")
    fails("did you mean 'hubid'", "-netdev", "hubport,id=n,hubi=1")
    fails("there is no netdev 'x'; create it", "-device", "e1000,netdev=x")
    fails("did you mean 'net0'", "-netdev", "hubport,id=net0,hubid=0", "-device", "e1000,netdev=net1")
    fails("taken by 'e1000.0'", "-netdev", "hubport,id=n,hubid=0", "-device", "e1000,netdev=n",
          "-device", "e1000,netdev=n")
    fails("multicast", "-device", "e1000,mac=01:00:00:00:00:01")
    fails("not a MAC address", "-device", "e1000,mac=52:54:00")
    fails("did you mean 'e1000'", "-net", "nic,model=e1001")
    fails("no option 'speed'", "-net", "nic,speed=1")
    fails("vlan", "-net", "nic,vlan=x")
    fails("romfile", "-device", "e1000,romfile=/nonexistent/rom")
    fails("bootindex=0 of 'virtio-net-pci' on pci.0 is taken by 'x' on pci.0", "-device",
          "e1000,bootindex=0,id=x", "-device", "virtio-net-pci,bootindex=0")


def test_user_mistakes():
    need_user()
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(1)
        port = s.getsockname()[1]
        fails("in use, held by process %d (" % os.getpid(), "-netdev",
              "user,id=n,hostfwd=tcp:127.0.0.1:%d-:22" % port)
    for want, options in (("for example tcp::2222-:22", "hostfwd=2222"),
                          ("port from 0 to 65535", "hostfwd=tcp::66666-:22"),
                          ("port from 1 to 65535", "hostfwd=tcp::0-:0"),
                          ("not an IP address", "hostfwd=tcp:1.2.3:4444-:22"),
                          ("does not have that address", "hostfwd=tcp:192.0.2.1:4444-:22"),
                          ("did you mean 'hostfwd'", "hostfw=tcp::2-:3"),
                          ("tcp:SERVER:PORT-CHARDEV", "guestfwd=tcp:10.0.2.9:80"),
                          ("not free in the network", "guestfwd=tcp:10.9.9.9:80-cmd:cat"),
                          ("not a network", "net=10.0.2"),
                          ("not in the network", "net=10.1.0.0/16,host=10.2.0.1"),
                          ("same address", "host=10.0.2.3"),
                          ("address of host= or dns=", "dhcpstart=10.0.2.2"),
                          ("name a directory", "tftp=/nonexistent"), ("no directory", "tftp=/dev/null"),
                          ("smb= is not built", "smb=/tmp"), ("on or off", "restrict=maybe"),
                          ("switch one on", "ipv4=off,ipv6=off"), ("not an IPv6", "ipv6-host=x"),
                          ("use 64", "ipv6-prefixlen=128"), ("longer than", "hostname=" + "x" * 99)):
        fails(want, "-netdev", "user,id=n," + options)


def test_warnings():
    need_user()
    with QTest("-M", "pc", "-netdev", "user,id=n", "-device", "e1000", "-net", "user,vlan=2") as vm:
        vm.inb(0)  # it runs
        text = vm.stderr()
        for want in ("netdev 'n' has no NIC", "NIC 'e1000.0' has no network", "hub 2 has no NIC"):
            check("'%s' in %s" % (want, text), True, want in text)
    with QTest("-M", "pc", nodefaults=False) as vm:
        vm.inb(0)
        check("the default network", "", "".join(re.findall(".*net.*", vm.stderr())))


def test_monitor():
    need_user()
    with tempfile.TemporaryDirectory(prefix="vireo-net-") as d:
        with QTest("-M", "pc", "-nic", "user,id=n0,mac=52:54:00:00:00:09", "-monitor",
                   "unix:%s/mon,server=on,wait=off" % d) as vm:
            mon = hmp.Hmp(d + "/mon")
            check("info network", "e1000.0: index=0,type=nic,model=e1000,macaddr=52:54:00:00:00:09\n"
                  " \\ n0: index=0,type=user,net=10.0.2.0,restrict=off\n", mon("info network"))
            with socket.socket() as s:
                s.bind(("127.0.0.1", 0))
                port = s.getsockname()[1]
            check("hostfwd_add", "", mon("hostfwd_add tcp:127.0.0.1:%d-:80" % port))
            check("listed", True, "TCP[HOST_FORWARD]" in mon("info usernet"))
            socket.create_connection(("127.0.0.1", port)).close()
            check("again", True, "in use, held by process %d" % vm.proc.pid in
                  mon("hostfwd_add n0 tcp:127.0.0.1:%d-:80" % port))
            for command in ("hostfwd_add", "hostfwd_remove"):
                check(command + " alone", True, "tcp::2222-:22" in mon(command))
            check("hostfwd_remove", "", mon("hostfwd_remove n0 tcp:127.0.0.1:%d" % port))
            check("removed", True, "there is no hostfwd" in
                  mon("hostfwd_remove tcp:127.0.0.1:%d" % port))
            check("set_link", True, "no network device 'x'" in mon("set_link x off"))
            mon("set_link n0 off")
            check("link", 2, mon("info network").count("link=down"))
            check("netdev_add", "", mon("netdev_add user,id=n1"))
            check("twice", True, "already" in mon("netdev_add user,id=n1"))
            for name in ("n1", "n0"):
                check("netdev_del", "", mon("netdev_del " + name))
            check("the card stays", 1, len(mon("info network").splitlines()))
            mon.close()


def test_not_built_yet():
    """What people know from QEMU is not called unknown."""
    for name in ("rtl8139", "pcnet", "e1000e", "vmxnet3"):
        fails("the NIC '%s' is not built yet; e1000 and" % name, "-net", "nic,model=" + name)
        fails("device '%s' is not built yet; e1000 and" % name, "-device", name)
    for words, want in (("nvme,drive=d", "device 'nvme' is not built yet; virtio-blk-pci"),
                        ("usb-tablet", "nor is any USB"), ("virtio-gpu-pci", "VGA is"),
                        ("nvme,help", "device 'nvme' is not built yet"),
                        ("virtio-net-pci,tx=bh", "tx= of device 'virtio-net-pci' is not built yet"),
                        ("virtio-rng-pci,rng=r", "rng= of device 'virtio-rng-pci' is not built yet"),
                        ("virtio-blk-pci,iothread=t", "is not built yet"),
                        ("ide-hd,write-cache=on", "is not built yet; cache= of the -drive"),
                        ("e1000,acpi-index=1", "acpi-index= of device 'e1000' is not built yet"),
                        ("e1000,rng=r", "has no property 'rng'"),
                        ("e10000", "did you mean 'e1000'")):
        fails(want, "-device", words)


def test_other_mistakes():
    fails("descriptor 77 is not open; fd= is for", "-netdev", "tap,id=n,fd=77")
    fails("leaves it one", "-netdev", "socket,id=n,fd=77")
    fails("does not have that address", "-netdev", "socket,id=n,listen=192.0.2.1:4444")
    fails("a stream socket; the program", "-netdev", "stream,id=n,addr.type=fd,addr.str=77")
    with tempfile.TemporaryDirectory(prefix="vireo-net-") as d:
        helper = os.path.join(d, "helper")
        with open(helper, "w") as f:
            f.write("#!/bin/sh\necho no such bridge >&2; echo at all >&2; exit 1\n")
        os.chmod(helper, 0o755)
        fails("says \"no such bridge;at all\"; it needs to be there", "-netdev",
              "bridge,id=n,br=br7,helper=" + helper)


def test_unix_hostfwd():
    """A unix socket of the host: removed at the end, replaced if nobody listens any more."""
    need_user()
    with tempfile.TemporaryDirectory(prefix="vireo-net-") as d:
        path = os.path.join(d, "f-3")
        args = ["-M", "none", "-nodefaults", "-display", "none", "-S", "-netdev",
                "user,id=n,hostfwd=unix:%s-:22" % path, "-netdev", "hubport,id=p,hubid=0,netdev=n",
                "-monitor", "unix:%s/mon,server=on,wait=off" % d]
        for end in ("kill", "terminate", "quit"):
            proc = subprocess.Popen([VIREO] + args, stdin=subprocess.DEVNULL,
                                    stderr=subprocess.PIPE, text=True)
            try:
                mon = hmp.Hmp(d + "/mon", lambda proc=proc: proc.poll() is not None)
                socket.socket(socket.AF_UNIX).connect(path)
                rows = mon("info usernet")
                check("the path in " + rows, True, re.search(r"HOST_FORWARD\] +\d+ +%s +10\.0\.2\.15 +22 "
                                                             % path, rows) is not None)
                fails("in use, held by process %d (" % proc.pid, "-netdev",
                      "user,id=n,hostfwd=unix:%s-:22" % path)
                for words in (path, path + "-:22"):
                    check("hostfwd_remove", "", mon("hostfwd_remove unix:" + words))
                    check("removed", False, os.path.exists(path))
                    check("twice", True, "there is no hostfwd" in mon("hostfwd_remove unix:" + words))
                    check("hostfwd_add", "", mon("hostfwd_add unix:%s-:22" % path))
                    check("made", True, os.path.exists(path))
                if end == "quit":
                    mon.sock.sendall(b"quit\n")
                else:
                    getattr(proc, end)()
                proc.wait(60 * SLOW)
                check("there after %s" % end, end == "kill", os.path.exists(path))
                mon.close()
            finally:
                proc.kill()
                proc.communicate()
        with open(path, "w") as f:
            f.write("mine")
        fails("is not a socket", "-netdev", "user,id=n,hostfwd=unix:%s-:22" % path)
        check("the file stays", 4, os.path.getsize(path))
    fails("directory does not exist", "-netdev", "user,id=n,hostfwd=unix:%s-:22" % path)
    fails("up to 107 characters", "-netdev", "user,id=n,hostfwd=unix:/%s-:22" % ("x" * 200))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(1)
        fails("in use, held by process %d (" % os.getpid(), "-monitor",
              "tcp:127.0.0.1:%d,server=on,wait=off" % s.getsockname()[1])


main()

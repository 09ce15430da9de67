#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# bochs.sh ISO SERIAL MEM: boots ISO with COM1 on the terminal SERIAL.
# BOCHS names the program, BXSHARE its data folder.
share=${BXSHARE:-/usr/share/bochs}
rc=$(mktemp)
cat > "$rc" <<RC
config_interface: textconfig
display_library: rfb, options="timeout=0"
memory: guest=$3, host=$3
romimage: file=$share/BIOS-bochs-latest
vgaromimage: file=$share/VGABIOS-lgpl-latest
boot: cdrom
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path="$1", status=inserted
com1: enabled=1, mode=term, dev="$2"
cpu: model=${BOCHS_CPU:-corei7_sandy_bridge_2600k}, count=1, ips=${BOCHS_IPS:-100000000}, reset_on_triple_fault=0
clock: sync=none, time0=local
log: /dev/stdout
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
port_e9_hack: enabled=0
RC
set --
if ${BOCHS:-bochs-bin} --help 2>&1 | grep -q -e -rc; then # built with the debugger, as Debian's is
    echo c > "$rc.dbg"
    set -- -rc "$rc.dbg"
fi
exec ${BOCHS:-bochs-bin} -q -f "$rc" "$@"

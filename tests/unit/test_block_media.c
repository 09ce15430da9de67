/* SPDX-License-Identifier: GPL-2.0-or-later
 * Drives: bad images, permissions, locks, media that change.
 */
#include "tests/unit/block_box.h"

/* ---- what users get wrong ---- */

static void test_bad_images(void **state)
{
    (void)state;
    char *opts = xasprintf("file=%s/absent.img", dir);
    open_fails(opts, "does not exist");
    free(opts);
    opts = xasprintf("file=%s", dir);
    open_fails(opts, "is a directory");
    free(opts);
    opts = xasprintf("file=%s,readonly=on", dir);
    open_fails(opts, "is a directory");
    free(opts);
    open_fails("file=/dev/null", "neither a file nor a block device");
    open_fails("file=nbd://localhost/x", "protocol");
    open_fails("id=a", "needs file=");
    char *path = make_image("ok.img", 4096);
    opts = xasprintf("file=%s,format=vmdk", path);
    open_fails(opts, "not built yet");
    free(opts);
    opts = xasprintf("file=%s,format=rwa", path);
    open_fails(opts, "did you mean 'raw'?");
    free(opts);
    opts = xasprintf("file=%s,cache=writeabck", path);
    open_fails(opts, "did you mean 'writeback'?");
    free(opts);
    opts = xasprintf("file=%s,frmat=raw", path);
    open_fails(opts, "did you mean 'format'?");
    free(opts);
    opts = xasprintf("file=%s,encrypt.key=x", path);
    open_fails(opts, "not built yet");
    free(opts);
    opts = xasprintf("file=%s,file.driver=nbd", path);
    open_fails(opts, "not built yet");
    free(opts);
    opts = xasprintf("file=%s,werror=maybe", path);
    open_fails(opts, "one of report, ignore, stop, enospc");
    free(opts);
    opts = xasprintf("file=%s,rerror=enospc", path);
    open_fails(opts, "rerror=enospc: it is one of report, ignore, stop");
    free(opts);
    FILE *f = fopen(path, "r+");
    fwrite("KDMV\1\0\0\0", 1, 8, f);
    fclose(f);
    opts = xasprintf("file=%s", path);
    open_fails(opts, "looks like vmdk");
    free(opts);
    assert_non_null(open_ok("id=a,format=raw", path)); /* as the user says */
    free(path);
}

static void test_permission(void **state)
{
    (void)state;
    if (geteuid() == 0) {
        return; /* root may open anything */
    }
    char *path = make_image("mine.img", 4096);
    chmod(path, 0400);
    char *opts = xasprintf("file=%s", path);
    open_fails(opts, "readonly=on or snapshot=on");
    chmod(path, 0);
    open_fails(opts, "permission denied");
    free(opts);
    free(path);
}

static void test_lock(void **state)
{
    (void)state;
    char *path = make_image("locked.img", 4096);
    char *opts = xasprintf("file=%s", path), *ro = xasprintf("file=%s,readonly=on", path);
    int ready[2], go[2];
    char c = 0;
    assert_int_equal(pipe(ready) | pipe(go), 0);
    pid_t child = fork();
    if (child == 0) {
        close(go[1]); /* so that it ends with its parent */
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        int fd = open(path, O_RDWR);
        bool ok = fcntl(fd, F_OFD_SETLK, &lock) == 0 && write(ready[1], "x", 1) == 1 &&
                  read(go[0], &c, 1) == 1;
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(read(ready[0], &c, 1), 1);
    char *holder = xasprintf("process %d (test_block_med", child); /* the kernel cuts names */
    open_fails(opts, holder);
    open_fails(ro, holder);
    assert_int_equal(write(go[1], "x", 1), 1);
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    assert_non_null(open_ok("id=a,read-only=on", path)); /* many may read */
    assert_non_null(open_ok("id=b,readonly=on", path));
    open_fails(opts, "in use by");
    assert_non_null(open_ok("id=c,file.locking=off", path));
    free(holder);
    free(opts);
    free(ro);
    free(path);
}

/* ---- media ---- */

static struct {
    unsigned changes, requests;
    bool loaded, locked, open;
} tray;

static void on_media(void *opaque, bool loaded)
{
    (void)opaque;
    tray.changes++;
    tray.loaded = loaded;
}

static void on_request(void *opaque, bool force)
{
    (void)opaque, (void)force;
    tray.requests++;
}

static bool is_open(void *opaque)
{
    (void)opaque;
    return tray.open;
}

static bool is_locked(void *opaque)
{
    (void)opaque;
    return tray.locked;
}

/* Half a CD is told by what its volume descriptor says. */
static void test_short_iso(void **state)
{
    (void)state;
    char *path = make_image("short.iso", 40 * 2048), *log = path_of("stderr");
    static const uint8_t volume[] = { 1, 'C', 'D', '0', '0', '1', 1 }, blocks[] = { 41, 0, 0, 0 };
    FILE *f = fopen(path, "r+");
    fseek(f, 16 * 2048, SEEK_SET);
    fwrite(volume, 1, sizeof(volume), f);
    fseek(f, 16 * 2048 + 80, SEEK_SET);
    fwrite(blocks, 1, sizeof(blocks), f);
    fclose(f);
    fflush(stderr);
    int saved = dup(2), fd = open(log, O_CREAT | O_RDWR | O_TRUNC, 0600);
    dup2(fd, 2);
    assert_non_null(open_ok("id=cd,media=cdrom", path));
    dup2(saved, 2);
    char text[1000] = "";
    assert_true(pread(fd, text, sizeof(text) - 1, 0) > 0);
    assert_non_null(strstr(text, "has 81920 of the 83968 bytes"));
    close(fd);
    close(saved);
    free(log);
    free(path);
}

static void test_media(void **state)
{
    (void)state;
    static const DriveUser user = { on_media, on_request, is_open, is_locked, NULL };
    Error *err = NULL;
    char *one = make_image("one.iso", 4096), *two = make_image("two.iso", 8192);
    Drive *d = open_ok("id=cd,media=cdrom", one);
    assert_true(drive_is_cdrom(d) && drive_is_readonly(d));
    assert_true(drive_attach(d, &user, NULL, "/machine/cd", &err));
    assert_false(drive_attach(d, &user, NULL, "/machine/other", &err));
    assert_non_null(strstr(error_text(err), "/machine/cd"));
    error_free(err);
    err = NULL;
    assert_true(drive_change(d, two, NULL, true, &err));
    assert_int_equal(drive_size(d), 8192);
    assert_int_equal(tray.changes, 2); /* out, in */
    tray.locked = true;
    assert_false(drive_eject(d, false, &err));
    assert_int_equal(tray.requests, 1);
    error_free(err);
    err = NULL;
    assert_true(drive_eject(d, true, &err));
    assert_false(drive_has_media(d) || tray.loaded);
    assert_int_equal(drive_size(d), 0);
    uint8_t buf[512];
    assert_int_equal(request(d, BLK_READ, 0, buf, 512), ENOMEDIUM);
    tray.locked = false;
    assert_true(drive_change(d, one, "raw", true, &err));
    assert_true(drive_has_media(d) && tray.loaded);
    char *absent = path_of("absent.iso");
    assert_false(drive_change(d, absent, NULL, true, &err));
    assert_int_equal(drive_size(d), 4096); /* the old one stays */
    error_free(err);
    free(absent);
    free(one);
    free(two);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(test_bad_images), TEST(test_permission), TEST(test_lock), TEST(test_short_iso),
        TEST(test_media),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, setup, teardown);
}

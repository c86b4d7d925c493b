#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "core/id.h"
#include "place.h"
#include "trash.h"
#include "url.h"

#define CNT_CLONE_DIR ".clone"
#define CNT_HANDED_OUT "handed-out.json"
#define CNT_HANDED_OUT_MAX 256 /* bytes */


/* Below dir, through no symbolic link and no mount point's magic link. */
static int cnt_open_beneath(int dir, const char *path, int flags)
{
    struct open_how how = {.flags = (unsigned) (flags | O_CLOEXEC),
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};

    return (int) syscall(SYS_openat2, dir, path, &how, sizeof(how));
}


int cnt_place_root(const char *state, int *ret_root, gp_err_t *err)
{
    gp_auto_free char *path = NULL;
    gp_auto_fd int root = -1;

    if (asprintf(&path, "%s/content", state) < 0) {
        path = NULL;
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "out of memory");
    }
    if (mkdir(path, 0711) < 0 && errno != EEXIST) {
        return gp_err_errno(err, errno, "making %s", path);
    }
    root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) {
        return gp_err_errno(err, errno, "opening %s", path);
    }
    if (mkdirat(root, CNT_TRASH_DIR, 0700) < 0 && errno != EEXIST) {
        return gp_err_errno(err, errno, "making %s/" CNT_TRASH_DIR, path);
    }
    *ret_root = gp_steal_fd(&root);

    return 0;
}


int cnt_place_check(const char *id, uint32_t uid_base, gp_err_t *err)
{
    if (!gp_id_workspace_valid(id, strlen(id))) {
        return gp_err(err, GP_INVALID_ARGUMENT, "workspace_id: '%.60s' is not a workspace id", id);
    }
    if (uid_base < CNT_UID_BASE_MIN || uid_base > UINT32_MAX - GP_UID_RANGE) {
        return gp_err(err, GP_INVALID_ARGUMENT, "uid_base must be from %d to %u, it is %u", CNT_UID_BASE_MIN, UINT32_MAX - GP_UID_RANGE,
                      uid_base);
    }

    return 0;
}


/* A directory of ours with exactly this owner and mode, made when missing. */
static int cnt_place_dir(int parent, const char *name, uint32_t uid, uint32_t gid, mode_t mode, int *ret_fd, gp_err_t *err)
{
    gp_auto_fd int fd = -1;
    struct stat st;

    if (mkdirat(parent, name, 0700) < 0 && errno != EEXIST) {
        return gp_err_errno(err, errno, "making the directory %s of the workspace", name);
    }
    fd = cnt_open_beneath(parent, name, O_RDONLY | O_DIRECTORY);
    if (fd < 0 || fstat(fd, &st) < 0) {
        return gp_err_errno(err, errno, "opening the directory %s of the workspace", name);
    }
    if ((st.st_uid != uid || st.st_gid != gid) && fchown(fd, uid, gid) < 0) {
        return gp_err_errno(err, errno, "giving the directory %s to the workspace", name);
    }
    if ((st.st_mode & 07777) != mode && fchmod(fd, mode) < 0) {
        return gp_err_errno(err, errno, "setting the mode of the directory %s", name);
    }
    *ret_fd = gp_steal_fd(&fd);

    return 0;
}


int cnt_place_make(int root, const char *id, uint32_t uid_base, cnt_place_t *ret_place, gp_err_t *err)
{
    cnt_place_t place = {-1, -1, uid_base + GP_WORKSPACE_UID};
    int rc;

    rc = cnt_place_check(id, uid_base, err);
    if (rc == 0) {
        rc = cnt_place_dir(root, id, uid_base, place.owner, 0700, &place.dir, err);
    }
    if (rc == 0) {
        rc = cnt_place_dir(place.dir, "workspace", place.owner, place.owner, 0755, &place.workspace, err);
    }
    if (rc < 0) {
        cnt_place_done(&place);
        return rc;
    }
    *ret_place = place;

    return 0;
}


int cnt_place_open(int root, const char *id, uint32_t uid_base, cnt_place_t *ret_place, gp_err_t *err)
{
    cnt_place_t place = {-1, -1, uid_base + GP_WORKSPACE_UID};
    int rc;

    rc = cnt_place_check(id, uid_base, err);
    if (rc < 0) {
        return rc;
    }
    place.dir = cnt_open_beneath(root, id, O_RDONLY | O_DIRECTORY);
    place.workspace = place.dir < 0 ? -1 : cnt_open_beneath(place.dir, "workspace", O_RDONLY | O_DIRECTORY);
    if (place.workspace < 0) {
        rc = gp_err_errno(err, errno, "the content of workspace %s", id);
        cnt_place_done(&place);
        return rc;
    }
    *ret_place = place;

    return 0;
}


void cnt_place_done(cnt_place_t *place)
{
    gp_close_fd(&place->workspace);
    gp_close_fd(&place->dir);
}


int cnt_place_pass(const cnt_place_t *place, bool pass, gp_err_t *err)
{
    if (fchmod(place->dir, pass ? 0710 : 0700) < 0) {
        return gp_err_errno(err, errno, "setting the mode of the workspace's directory");
    }

    return 0;
}


int cnt_place_has(const cnt_place_t *place, const char *checkout, gp_err_t *err)
{
    gp_auto_fd int fd = cnt_open_beneath(place->workspace, checkout, O_PATH | O_NOFOLLOW);

    if (fd < 0 && errno != ENOENT && errno != ELOOP && errno != ENOTDIR) {
        return gp_err_errno(err, errno, "looking for the checkout %s", checkout);
    }

    return fd >= 0 || errno != ENOENT;
}


int cnt_place_handed_out(const cnt_place_t *place, char ret_instance[GP_INSTANCE_ID_LEN + 1], gp_err_t *err)
{
    gp_auto_fd int fd = openat(place->dir, CNT_HANDED_OUT, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    gp_auto_json json_t *doc = NULL;
    char text[CNT_HANDED_OUT_MAX];
    const char *instance;
    ssize_t n;

    ret_instance[0] = '\0';
    if (fd < 0) {
        return errno == ENOENT ? 0 : gp_err_errno(err, errno, "reading " CNT_HANDED_OUT);
    }
    n = read(fd, text, sizeof(text));
    doc = n > 0 ? json_loadb(text, (size_t) n, 0, NULL) : NULL;
    instance = json_string_value(json_object_get(doc, "instance"));
    (void) snprintf(ret_instance, GP_INSTANCE_ID_LEN + 1, "%s", instance ? instance : "?"); /* unreadable: handed out, to whom is lost */

    return 0;
}


int cnt_place_hand_out(const cnt_place_t *place, const char *instance, gp_err_t *err)
{
    gp_auto_fd int fd = openat(place->dir, CNT_HANDED_OUT ".new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    char text[CNT_HANDED_OUT_MAX];
    int n = snprintf(text, sizeof(text), "{\"instance\":\"%s\"}\n", instance);

    if (fd < 0 || write(fd, text, (size_t) n) != n || fsync(fd) < 0 ||
        renameat(place->dir, CNT_HANDED_OUT ".new", place->dir, CNT_HANDED_OUT) < 0) {
        return gp_err_errno(err, errno, "noting that the content is handed out");
    }

    return 0;
}


int cnt_place_scratch(const cnt_place_t *place, const char *name, int *ret_dir, gp_err_t *err)
{
    int rc = cnt_trash_remove_tree(place->dir, name, err);

    return rc < 0 ? rc : cnt_place_dir(place->dir, name, place->owner, place->owner, 0700, ret_dir, err);
}


int cnt_place_open_checkout(const cnt_place_t *place, const char *checkout, int *ret_dir, gp_err_t *err)
{
    int fd = cnt_open_beneath(place->workspace, checkout, O_RDONLY | O_DIRECTORY);

    if (fd < 0) {
        return gp_err_errno(err, errno, "opening " GP_DIR_WORKSPACE "/%s", checkout);
    }
    *ret_dir = fd;

    return 0;
}


int cnt_place_clone_dir(const cnt_place_t *place, int *ret_dir, gp_err_t *err)
{
    gp_auto_fd int clone = -1;
    int rc;

    rc = cnt_place_scratch(place, CNT_CLONE_DIR, &clone, err);
    if (rc < 0) {
        return rc;
    }

    return cnt_place_dir(clone, "checkout", place->owner, place->owner, 0755, ret_dir, err);
}


void cnt_place_drop_clone(const cnt_place_t *place)
{
    gp_err_t err = GP_ERR_INIT;

    (void) !cnt_trash_remove_tree(place->dir, CNT_CLONE_DIR,
                                  &err); /* what stays is tried again with the next clone, or with the workspace */
}


/* Opens the parent of workspace/<checkout>, making what is missing as the workspace user's. */
static int cnt_place_parent(const cnt_place_t *place, const char *checkout, const char **ret_name, int *ret_dir, gp_err_t *err)
{
    gp_auto_fd int dir = fcntl(place->workspace, F_DUPFD_CLOEXEC, 0);
    char name[CNT_CHECKOUT_MAX + 1];
    const char *slash;
    int next;

    while (dir >= 0 && (slash = strchr(checkout, '/'))) {
        (void) snprintf(name, sizeof(name), "%.*s", (int) (slash - checkout), checkout);
        if (mkdirat(dir, name, 0755) == 0) {
            (void) !fchownat(dir, name, place->owner, place->owner,
                             AT_SYMLINK_NOFOLLOW); /* the rename below would fail to be useful, not unsafe */
        }
        next = cnt_open_beneath(dir, name, O_RDONLY | O_DIRECTORY);
        gp_close_fd(&dir);
        dir = next;
        checkout = slash + 1;
    }
    if (dir < 0) {
        return gp_err_errno(err, errno, "opening the directory of the checkout");
    }
    *ret_name = checkout;
    *ret_dir = gp_steal_fd(&dir);

    return 0;
}


int cnt_place_publish(const cnt_place_t *place, const char *checkout, gp_err_t *err)
{
    gp_auto_fd int parent = -1;
    const char *name;
    int rc;

    rc = cnt_place_parent(place, checkout, &name, &parent, err);
    if (rc < 0) {
        return rc;
    }
    if (syscall(SYS_renameat2, place->dir, CNT_CLONE_DIR "/checkout", parent, name, RENAME_NOREPLACE) < 0) {
        if (errno == EEXIST) {
            return gp_err(err, GP_ALREADY_EXISTS, "there is something at " GP_DIR_WORKSPACE "/%s already", checkout);
        }
        return gp_err_errno(err, errno, "putting the checkout in its place");
    }

    return 0;
}


int cnt_place_read(const cnt_place_t *place, const char *path, char *buf, size_t size, size_t *ret_len, gp_err_t *err)
{
    gp_auto_fd int fd = cnt_open_beneath(place->workspace, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    ssize_t n;

    if (fd < 0) {
        return gp_err_errno(err, errno, "reading %s", path);
    }
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        return gp_err(err, GP_NOT_FOUND, "%s is not a regular file", path);
    }
    n = read(fd, buf, size - 1);
    if (n < 0) {
        return gp_err_errno(err, errno, "reading %s", path);
    }
    if (st.st_size >= (off_t) size) {
        return gp_err(err, GP_OUT_OF_RANGE, "%s is larger than %zu bytes", path, size - 1);
    }
    buf[n] = '\0';
    *ret_len = (size_t) n;

    return 0;
}


/* One line of a small file below workspace/, "" when there is none. */
static void cnt_place_line(const cnt_place_t *place, const char *path, char *buf, size_t size)
{
    gp_err_t err = GP_ERR_INIT;
    size_t len;

    buf[0] = '\0';
    if (cnt_place_read(place, path, buf, size, &len, &err) < 0) {
        buf[0] = '\0';
    }
    buf[strcspn(buf, "\r\n")] = '\0';
}


void cnt_place_head(const cnt_place_t *place, const char *checkout, char *ret_branch, char *ret_commit, size_t size)
{
    static const char heads[] = "ref: refs/heads/";
    char path[2 * CNT_REF_MAX], line[CNT_REF_MAX];
    gp_err_t err = GP_ERR_INIT;

    ret_branch[0] = '\0';
    ret_commit[0] = '\0';
    (void) snprintf(path, sizeof(path), "%s/.git/HEAD", checkout);
    cnt_place_line(place, path, line, sizeof(line));
    if (strncmp(line, heads, sizeof(heads) - 1) == 0 && cnt_ref_check(line + sizeof(heads) - 1, &err) == 0) {
        (void) snprintf(ret_branch, size, "%s", line + sizeof(heads) - 1);
        (void) snprintf(path, sizeof(path), "%s/.git/refs/heads/%s", checkout, ret_branch);
        cnt_place_line(place, path, line, sizeof(line));
    }
    if (cnt_commit_full(line)) {
        (void) snprintf(ret_commit, size, "%s", line);
    }
}


int64_t cnt_place_free_bytes(int root)
{
    struct statvfs st;

    return fstatvfs(root, &st) < 0 ? -1 : (int64_t) st.f_bavail * (int64_t) st.f_frsize;
}

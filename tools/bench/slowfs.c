/* A folder seen through a file system that answers each question late, as one behind a network does; to be read only.
 *
 *   slowfs FOLDER MICROSECONDS MOUNT_POINT
 *
 * Every look at a file or folder, every opening and every reading waits so long. Several wait side by side. What was looked at is
 * known for a second, what was read stays in the system's memory.
 */
#define FUSE_USE_VERSION 31
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char root[PATH_MAX];
static useconds_t delay_us;

static const char *locate(const char *path, char room[2 * PATH_MAX]) {
    usleep(delay_us);
    snprintf(room, 2 * PATH_MAX, "%s%s", root, path);
    return room;
}

static int look(const char *path, struct stat *found, struct fuse_file_info *file) {
    char room[2 * PATH_MAX];
    (void)file;
    return lstat(locate(path, room), found) ? -errno : 0;
}

static int list(const char *path, void *names, fuse_fill_dir_t add, off_t offset, struct fuse_file_info *file,
                enum fuse_readdir_flags flags) {
    char room[2 * PATH_MAX];
    (void)offset, (void)file, (void)flags;
    DIR *folder = opendir(locate(path, room));
    if (folder == NULL) return -errno;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        struct stat kind = {.st_ino = entry->d_ino, .st_mode = DTTOIF(entry->d_type)};
        if (add(names, entry->d_name, &kind, 0, 0)) break;
    }
    closedir(folder);
    return 0;
}

static int open_file(const char *path, struct fuse_file_info *file) {
    char room[2 * PATH_MAX];
    int descriptor = open(locate(path, room), file->flags);
    if (descriptor < 0) return -errno;
    file->fh = descriptor;
    file->keep_cache = 1;
    return 0;
}

static int read_file(const char *path, char *room, size_t size, off_t offset, struct fuse_file_info *file) {
    (void)path;
    usleep(delay_us);
    ssize_t found = pread(file->fh, room, size, offset);
    return found < 0 ? -errno : (int)found;
}

static int close_file(const char *path, struct fuse_file_info *file) {
    (void)path;
    return close(file->fh);
}

static void *begin(struct fuse_conn_info *connection, struct fuse_config *settings) {
    connection->max_readahead = 1 << 20;
    settings->entry_timeout = settings->attr_timeout = 1;
    return NULL;
}

int main(int count, char **words) {
    if (count != 4 || realpath(words[1], root) == NULL) return 2;
    delay_us = atoi(words[2]);
    static struct fuse_operations answers = {
        .getattr = look, .readdir = list, .open = open_file, .read = read_file, .release = close_file, .init = begin};
    char *line[] = {words[0], words[3], "-o", "ro", NULL};
    return fuse_main(4, line, &answers, NULL);
}

#pragma once

#include <stdlib.h>
#include <stdio.h>
#include <unistd.h>
#include <dirent.h>

/*
 * Every owning local is declared with its cleanup and its null value on one
 * line; the success path ends with `*ret_x = gp_steal(&x)`. No goto.
 */
#define gp_cleanup(fn) __attribute__((cleanup(fn)))

#define gp_steal(ptr)                                                                                                                      \
    __extension__({                                                                                                                        \
        __typeof__(*(ptr)) gp_steal_v = *(ptr);                                                                                            \
        *(ptr) = 0;                                                                                                                        \
        gp_steal_v;                                                                                                                        \
    })
#define gp_steal_fd(ptr)                                                                                                                   \
    __extension__({                                                                                                                        \
        int gp_steal_fd_v = *(ptr);                                                                                                        \
        *(ptr) = -1;                                                                                                                       \
        gp_steal_fd_v;                                                                                                                     \
    })

static inline void gp_free_ptr(void *p)
{
    void **pp = (void **) p;
    free(*pp);
    *pp = NULL;
}
static inline void gp_close_fd(int *fd)
{
    if (*fd >= 0) {
        (void) close(*fd);
        *fd = -1;
    }
}
static inline void gp_close_file(FILE **f)
{
    if (*f) {
        (void) fclose(*f);
        *f = NULL;
    }
}
static inline void gp_close_dir(DIR **d)
{
    if (*d) {
        (void) closedir(*d);
        *d = NULL;
    }
}

#define gp_auto_free gp_cleanup(gp_free_ptr)
#define gp_auto_fd gp_cleanup(gp_close_fd)
#define gp_auto_file gp_cleanup(gp_close_file)
#define gp_auto_dir gp_cleanup(gp_close_dir)

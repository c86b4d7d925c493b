#pragma once

#include "base/buf.h"
#include "base/err.h"

/* Defaults for git in /etc/gitconfig, so that the person's own ~/.gitconfig wins: name, e-mail, safe.directory, push.default. Once. */
int sup_gitconfig_write(gp_err_t *err) __attribute__((warn_unused_result));
/* Pure: the text; name and email may be NULL. */
int sup_gitconfig_format(const char *name, const char *email, gp_buf_t *buf) __attribute__((warn_unused_result));

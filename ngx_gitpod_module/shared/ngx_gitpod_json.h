
#ifndef _NGX_GITPOD_JSON_H_INCLUDED_
#define _NGX_GITPOD_JSON_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>


/*
 * jansson's strings as nginx's, which are never const: not to be written to.
 * data is NULL when the value is no string.
 */

static ngx_inline ngx_str_t
ngx_gitpod_json_text(json_t *value)
{
    ngx_str_t  text;

    text.data = (u_char *) (uintptr_t) json_string_value(value);
    text.len = json_string_length(value);

    return text;
}


#endif /* _NGX_GITPOD_JSON_H_INCLUDED_ */

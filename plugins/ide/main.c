/* The ide service: which editors there are and how a workspace gets one. */
#include <errno.h>
#include <sys/stat.h>

#include "rpc/message.h"
#include "rpc/service.h"
#include "catalogue.h"

#define IDE_START_ARENA_MAX 4194304 /* bytes: a catalogue of IDE_CATALOGUE_MAX, parsed */

typedef struct {
    gp_service_conf_t service;
    char *catalogue;
} ide_conf_t;

typedef struct {
    const ide_conf_t *conf;
} ide_t;

static const gp_option_t ide_options[] = {
    {"catalogue", GP_OPT_STRING, offsetof(ide_conf_t, catalogue), "", NULL, 0, 0, "JSON file that lists the editors"},
};


static int ide_list_editors(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    Gitpod__Internal__V1__ListEditorsResponse *out = (Gitpod__Internal__V1__ListEditorsResponse *) res;
    const ide_t *ide = call->data;
    ide_catalogue_t catalogue;
    int rc;

    rc = ide_catalogue_load(ide->conf->catalogue, call->arena, &catalogue, err);
    if (rc < 0) {
        return rc;
    }
    out->editors = catalogue.editors;
    out->n_editors = catalogue.n;

    return 0;
}


/* The directory is looked at here, so that a start fails with its name and not with a mount error of the engine. */
static int ide_resolve_editor(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const Gitpod__Internal__V1__ResolveEditorRequest *in = (const Gitpod__Internal__V1__ResolveEditorRequest *) req;
    Gitpod__Internal__V1__ResolveEditorResponse *out = (Gitpod__Internal__V1__ResolveEditorResponse *) res;
    const ide_t *ide = call->data;
    ide_catalogue_t catalogue;
    ide_editor_t *editor = NULL;
    struct stat st;
    int rc;

    rc = ide_catalogue_load(ide->conf->catalogue, call->arena, &catalogue, err);
    if (rc == 0) {
        rc = ide_catalogue_find(&catalogue, in->id, in->version, &editor, err);
    }
    if (rc < 0) {
        return rc;
    }
    if (stat(editor->mount_source, &st) != 0 || !S_ISDIR(st.st_mode)) {
        return gp_err(err, GP_FAILED_PRECONDITION,
                      "the editor \"%s\" is not installed: there is no directory %s; the operator runs ./build.sh deps", editor->id,
                      editor->mount_source);
    }
    out->editor = editor;

    return 0;
}


static int ide_check_catalogue(void *data, gp_err_t *err)
{
    gp_auto_arena gp_arena_t *arena = gp_arena_new(IDE_START_ARENA_MAX);
    const ide_t *ide = data;
    ide_catalogue_t catalogue;

    return ide_catalogue_load(ide->conf->catalogue, arena, &catalogue, err);
}


static int ide_start(gp_service_t *service, const void *conf, void **ret_data, gp_err_t *err)
{
    static ide_t ide;
    int rc;

    ide.conf = conf;
    rc = ide_check_catalogue(&ide, err);
    if (rc == 0) {
        *ret_data = &ide;
    }

    return rc;
}


static void ide_stop(void *data) {}


static const gp_method_t ide_methods[] = {
    {&gitpod__internal__v1__ide_service__descriptor, "ListEditors", ide_list_editors, NULL},
    {&gitpod__internal__v1__ide_service__descriptor, "ResolveEditor", ide_resolve_editor, NULL},
};

static const gp_check_t ide_checks[] = {
    {"catalogue", ide_check_catalogue},
};

static const gp_service_def_t ide_service = {
    .name = "ide",
    .text = "the catalogue of editors",
    .options = ide_options,
    .n_options = sizeof(ide_options) / sizeof(ide_options[0]),
    .conf_size = sizeof(ide_conf_t),
    .methods = ide_methods,
    .n_methods = sizeof(ide_methods) / sizeof(ide_methods[0]),
    .checks = ide_checks,
    .n_checks = sizeof(ide_checks) / sizeof(ide_checks[0]),
    .start = ide_start,
    .stop = ide_stop,
};


int main(int argc, char **argv)
{
    return gp_service_main(&ide_service, argc, argv);
}

#include <stddef.h>
#include <stdint.h>

#include "base/gitpod_yml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* .gitpod.yml of anybody's repository. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gp_err_t err = GP_ERR_INIT;
    gp_yml_t *yml = NULL;

    if (gp_yml_parse((const char *) data, size, &yml, &err) == 0) {
        if (yml->n_tasks > GP_YML_TASKS_MAX || yml->n_ports > GP_YML_PORTS_MAX || yml->n_warnings > GP_YML_WARNINGS_MAX) {
            __builtin_trap();
        }
        for (size_t i = 0; i < yml->n_ports; i++) {
            const gp_yml_port_t *port = &yml->ports[i];

            if (!*gp_yml_protocol_name(port->protocol) || (port->first != port->last && (port->visible || port->protocol != GP_YML_HTTP))) {
                __builtin_trap(); /* a range opens nothing */
            }
        }
    } else if (err.text[0] == '\0') {
        __builtin_trap(); /* an error says why */
    }
    (void) gp_yml_free(yml);

    return 0;
}

#pragma once

/*
 * Connect / gRPC status codes. A function that fails returns the code negated;
 * the API edge needs no table. Text forms and HTTP statuses: gp_code_name(),
 * gp_code_http_status().
 */
enum gp_code {
    GP_OK = 0,
    GP_CANCELED = 1,
    GP_UNKNOWN = 2,
    GP_INVALID_ARGUMENT = 3,
    GP_DEADLINE_EXCEEDED = 4,
    GP_NOT_FOUND = 5,
    GP_ALREADY_EXISTS = 6,
    GP_PERMISSION_DENIED = 7,
    GP_RESOURCE_EXHAUSTED = 8,
    GP_FAILED_PRECONDITION = 9,
    GP_ABORTED = 10,
    GP_OUT_OF_RANGE = 11,
    GP_UNIMPLEMENTED = 12,
    GP_INTERNAL = 13,
    GP_UNAVAILABLE = 14,
    GP_DATA_LOSS = 15,
    GP_UNAUTHENTICATED = 16
};

/* "not_found"; "unknown" for a number that is none. */
const char *gp_code_name(int code);

/* The number of a name, or GP_UNKNOWN. */
int gp_code_from_name(const char *name, unsigned long len);

/* 404 for GP_NOT_FOUND and so on (connect-go 1.10's table). */
int gp_code_http_status(int code);

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "google/protobuf/duration.pb-c.h"
#include "google/protobuf/field_mask.pb-c.h"
#include "google/protobuf/timestamp.pb-c.h"
#include "rpc/message_codec.h"

/*
 * Timestamp, Duration and FieldMask: strings in JSON. Bounds are those of the
 * proto3 JSON mapping: years 1 to 9999, +-315,576,000,000 s.
 */
#define GP_TIMESTAMP_MIN_S INT64_C(-62135596800) /* 0001-01-01T00:00:00Z */
#define GP_TIMESTAMP_MAX_S INT64_C(253402300799) /* 9999-12-31T23:59:59Z */
#define GP_DURATION_MAX_S INT64_C(315576000000)
#define GP_NANOS_MAX 999999999
#define GP_MASK_PATHS_MAX 1000 /* paths in one FieldMask */

#define GP_TIMESTAMP_FORM "expected a time like \"2026-01-31T09:30:00Z\" (RFC 3339)"
#define GP_DURATION_FORM "expected a duration in seconds like \"90s\" or \"1.5s\""


enum gp_codec_known gp_codec_known(const ProtobufCMessageDescriptor *descriptor)
{
    if (descriptor == &google__protobuf__timestamp__descriptor) {
        return GP_KNOWN_TIMESTAMP;
    }
    if (descriptor == &google__protobuf__duration__descriptor) {
        return GP_KNOWN_DURATION;
    }
    if (descriptor == &google__protobuf__field_mask__descriptor) {
        return GP_KNOWN_FIELD_MASK;
    }

    return GP_KNOWN_NONE;
}


/* Days from 1970-01-01 of a date of the proleptic Gregorian calendar (Howard Hinnant's algorithm). */
static int64_t gp_days_from_civil(int64_t year, int64_t month, int64_t day)
{
    int64_t era, of_era, of_year;

    year -= month <= 2;
    era = (year >= 0 ? year : year - 399) / 400;
    of_era = year - era * 400;
    of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}


static void gp_civil_from_days(int64_t days, int *ret_year, int *ret_month, int *ret_day)
{
    int64_t era, of_era, year_of_era, of_year, mp;

    days += 719468;
    era = (days >= 0 ? days : days - 146096) / 146097;
    of_era = days - era * 146097;
    year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    mp = (5 * of_year + 2) / 153;
    *ret_day = (int) (of_year - (153 * mp + 2) / 5 + 1);
    *ret_month = (int) (mp + (mp < 10 ? 3 : -9));
    *ret_year = (int) (year_of_era + era * 400 + (*ret_month <= 2));
}


/* n digits at *p to a number; moves *p. */
static bool gp_digits(const char **p, int n, int min, int max, int *ret_value)
{
    int i, value = 0;

    for (i = 0; i < n; i++) {
        if ((*p)[i] < '0' || (*p)[i] > '9') {
            return false;
        }
        value = value * 10 + (*p)[i] - '0';
    }
    *p += n;
    *ret_value = value;

    return value >= min && value <= max;
}


static bool gp_literal(const char **p, char lower, char upper)
{
    if (**p != lower && **p != upper) {
        return false;
    }
    (*p)++;

    return true;
}


/* ".5" to 500000000; nothing there is 0. */
static bool gp_fraction(const char **p, int32_t *ret_nanos)
{
    int32_t nanos = 0;
    int digits = 0;

    *ret_nanos = 0;
    if (**p != '.') {
        return true;
    }

    for ((*p)++; **p >= '0' && **p <= '9'; (*p)++) {
        if (++digits > 9) {
            return false;
        }
        nanos = nanos * 10 + (**p - '0');
    }
    if (digits == 0) {
        return false;
    }
    for (; digits < 9; digits++) {
        nanos *= 10;
    }
    *ret_nanos = nanos;

    return true;
}


/* "Z" or "+02:00", as seconds east. */
static bool gp_zone(const char **p, int *ret_offset_s)
{
    int hours, minutes, sign;

    *ret_offset_s = 0;
    if (**p == 'Z' || **p == 'z') {
        (*p)++;
        return true;
    }
    if (**p != '+' && **p != '-') {
        return false;
    }

    sign = **p == '-' ? -1 : 1;
    (*p)++;
    if (!gp_digits(p, 2, 0, 23, &hours) || !gp_literal(p, ':', ':') || !gp_digits(p, 2, 0, 59, &minutes)) {
        return false;
    }
    *ret_offset_s = sign * (hours * 3600 + minutes * 60);

    return true;
}


static int gp_month_days(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return month == 2 && leap ? 29 : days[month - 1];
}


static int gp_timestamp_parse(const char *p, Google__Protobuf__Timestamp *ts, const gp_codec_path_t *path, gp_err_t *err)
{
    int year, month, day, hour, minute, second, offset_s;
    int64_t seconds;

    if (!gp_digits(&p, 4, 1, 9999, &year) || !gp_literal(&p, '-', '-') || !gp_digits(&p, 2, 1, 12, &month) || !gp_literal(&p, '-', '-') ||
        !gp_digits(&p, 2, 1, gp_month_days(year, month), &day) || !gp_literal(&p, 't', 'T') || !gp_digits(&p, 2, 0, 23, &hour) ||
        !gp_literal(&p, ':', ':') || !gp_digits(&p, 2, 0, 59, &minute) || !gp_literal(&p, ':', ':') || !gp_digits(&p, 2, 0, 59, &second) ||
        !gp_fraction(&p, &ts->nanos) || !gp_zone(&p, &offset_s) || *p != '\0') {
        return gp_codec_err(err, GP_INVALID_ARGUMENT, path, GP_TIMESTAMP_FORM);
    }

    seconds = gp_days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset_s;
    if (seconds < GP_TIMESTAMP_MIN_S || seconds > GP_TIMESTAMP_MAX_S) {
        return gp_codec_err(err, GP_INVALID_ARGUMENT, path, "the time must lie in the years 1 to 9999 (UTC)");
    }
    ts->seconds = seconds;

    return 0;
}


static int gp_duration_parse(const char *p, Google__Protobuf__Duration *d, const gp_codec_path_t *path, gp_err_t *err)
{
    bool negative = *p == '-', digits = false;
    int64_t seconds = 0;

    for (p += negative; *p >= '0' && *p <= '9'; p++) {
        seconds = seconds * 10 + (*p - '0');
        digits = true;
        if (seconds > GP_DURATION_MAX_S) {
            return gp_codec_err(err, GP_INVALID_ARGUMENT, path, "the duration is longer than 10,000 years");
        }
    }
    if (!digits || !gp_fraction(&p, &d->nanos) || strcmp(p, "s") != 0) {
        return gp_codec_err(err, GP_INVALID_ARGUMENT, path, GP_DURATION_FORM);
    }
    d->seconds = negative ? -seconds : seconds;
    d->nanos = negative ? -d->nanos : d->nanos;

    return 0;
}


/* "displayName,ports.port" to display_name and ports.port. */
static int gp_mask_parse(const char *text, Google__Protobuf__FieldMask *mask, gp_arena_t *arena, const gp_codec_path_t *path, gp_err_t *err)
{
    size_t n = 1, i = 0, used = 0, len = strlen(text);
    const char *p;
    char *copy;
    int rc;

    if (len == 0) {
        return 0;
    }
    for (p = text; *p; p++) {
        n += *p == ',';
    }
    if (n > GP_MASK_PATHS_MAX) {
        return gp_codec_err(err, GP_INVALID_ARGUMENT, path, "a field mask has at most %d paths", GP_MASK_PATHS_MAX);
    }
    rc = gp_codec_alloc(arena, n, sizeof(char *), &mask->paths, err);
    if (rc < 0 || (rc = gp_codec_alloc(arena, 2 * len + 2, 1, &copy, err)) < 0) {
        return rc;
    }

    mask->paths[i++] = copy;
    for (p = text; *p; p++) {
        if (*p == ',') {
            copy[used++] = '\0';
            mask->paths[i++] = copy + used;
        } else if (*p >= 'A' && *p <= 'Z') {
            copy[used++] = '_';
            copy[used++] = (char) (*p - 'A' + 'a');
        } else if ((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || *p == '.') {
            copy[used++] = *p;
        } else {
            return gp_codec_err(err, GP_INVALID_ARGUMENT, path, "expected names of fields in lowerCamelCase, separated by commas");
        }
    }
    mask->n_paths = n;

    return 0;
}


int gp_codec_known_parse(enum gp_codec_known known, const char *text, ProtobufCMessage *msg, gp_arena_t *arena, const gp_codec_path_t *path,
                         gp_err_t *err)
{
    if (known == GP_KNOWN_TIMESTAMP) {
        return gp_timestamp_parse(text, (Google__Protobuf__Timestamp *) (void *) msg, path, err);
    }
    if (known == GP_KNOWN_DURATION) {
        return gp_duration_parse(text, (Google__Protobuf__Duration *) (void *) msg, path, err);
    }

    return gp_mask_parse(text, (Google__Protobuf__FieldMask *) (void *) msg, arena, path, err);
}


/* 0, 3, 6 or 9 digits, as every other implementation prints. */
static int gp_nanos_format(gp_buf_t *buf, int32_t nanos)
{
    if (nanos == 0) {
        return 0;
    }
    if (nanos % 1000000 == 0) {
        return gp_buf_printf(buf, ".%03d", nanos / 1000000);
    }
    if (nanos % 1000 == 0) {
        return gp_buf_printf(buf, ".%06d", nanos / 1000);
    }

    return gp_buf_printf(buf, ".%09d", nanos);
}


static int gp_timestamp_format(const Google__Protobuf__Timestamp *ts, gp_buf_t *buf, const gp_codec_path_t *path, gp_err_t *err)
{
    int64_t days, rest;
    int year, month, day, rc;

    if (ts->seconds < GP_TIMESTAMP_MIN_S || ts->seconds > GP_TIMESTAMP_MAX_S || ts->nanos < 0 || ts->nanos > GP_NANOS_MAX) {
        return gp_codec_err(err, GP_INTERNAL, path, "%" PRId64 " s, %d ns is no time of the years 1 to 9999", ts->seconds, ts->nanos);
    }

    days = ts->seconds / 86400;
    rest = ts->seconds % 86400;
    if (rest < 0) {
        rest += 86400;
        days--;
    }
    gp_civil_from_days(days, &year, &month, &day);

    rc = gp_buf_printf(buf, "\"%04d-%02d-%02dT%02d:%02d:%02d", year, month, day, (int) (rest / 3600), (int) (rest / 60 % 60),
                       (int) (rest % 60));
    if (rc < 0 || (rc = gp_nanos_format(buf, ts->nanos)) < 0) {
        return rc;
    }

    return gp_buf_append(buf, "Z\"", 2);
}


static int gp_duration_format(const Google__Protobuf__Duration *d, gp_buf_t *buf, const gp_codec_path_t *path, gp_err_t *err)
{
    bool negative = d->seconds < 0 || d->nanos < 0;
    int rc;

    if (d->seconds < -GP_DURATION_MAX_S || d->seconds > GP_DURATION_MAX_S || d->nanos < -GP_NANOS_MAX || d->nanos > GP_NANOS_MAX ||
        (d->seconds < 0 && d->nanos > 0) || (d->seconds > 0 && d->nanos < 0)) {
        return gp_codec_err(err, GP_INTERNAL, path, "%" PRId64 " s, %d ns is no duration", d->seconds, d->nanos);
    }

    rc = gp_buf_printf(buf, "\"%s%" PRId64, negative ? "-" : "", negative ? -d->seconds : d->seconds);
    if (rc < 0 || (rc = gp_nanos_format(buf, negative ? -d->nanos : d->nanos)) < 0) {
        return rc;
    }

    return gp_buf_append(buf, "s\"", 2);
}


static int gp_mask_format(const Google__Protobuf__FieldMask *mask, gp_buf_t *buf, const gp_codec_path_t *path, gp_err_t *err)
{
    const char *p;
    size_t i;
    int rc;

    rc = gp_buf_append(buf, "\"", 1);
    for (i = 0; rc == 0 && i < mask->n_paths; i++) {
        for (p = mask->paths[i]; *p; p++) {
            if (!((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || *p == '.' || (*p == '_' && p[1] >= 'a' && p[1] <= 'z'))) {
                return gp_codec_err(err, GP_INTERNAL, path, "\"%.100s\" has no JSON form", mask->paths[i]);
            }
        }
        if (i > 0) {
            rc = gp_buf_append(buf, ",", 1);
        }
        if (rc == 0) {
            rc = gp_codec_append_json_name(buf, mask->paths[i]);
        }
    }

    return rc == 0 ? gp_buf_append(buf, "\"", 1) : rc;
}


int gp_codec_known_format(enum gp_codec_known known, const ProtobufCMessage *msg, gp_buf_t *buf, const gp_codec_path_t *path, gp_err_t *err)
{
    if (known == GP_KNOWN_TIMESTAMP) {
        return gp_timestamp_format((const Google__Protobuf__Timestamp *) (const void *) msg, buf, path, err);
    }
    if (known == GP_KNOWN_DURATION) {
        return gp_duration_format((const Google__Protobuf__Duration *) (const void *) msg, buf, path, err);
    }

    return gp_mask_format((const Google__Protobuf__FieldMask *) (const void *) msg, buf, path, err);
}

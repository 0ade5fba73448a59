/* What the interop client and server share: payloads that are never held in
 * memory, and options as everybody's interop programs have them.
 *
 * A payload is nothing but zeros. So the callbacks of nanopb count those that
 * come and make those that go.
 */
#ifndef INTEROP_H
#define INTEROP_H

#include "grpc/testing/messages.pb.h"
#include <pb_decode.h>
#include <pb_encode.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The largest messages: very_large_request brings 10 MiB, large_unary answers
 * with 314,159 bytes, and each with a little more. */
#define INTEROP_MAX_REQUEST (10 * 1024 * 1024 + 1024)
#define INTEROP_MAX_RESPONSE (512 * 1024)
#define INTEROP_ECHO_INITIAL "x-grpc-test-echo-initial"
#define INTEROP_ECHO_TRAILING "x-grpc-test-echo-trailing-bin"

/* ---- payloads ---- */

typedef struct interop_body {
    size_t size;
    bool other; /* not all of it were zeros */
} interop_body;

static bool interop_read_body(pb_istream_t *stream, const pb_field_t *field,
                              void **arg)
{
    interop_body *body = (interop_body *)*arg;
    pb_byte_t part[512];
    (void)field;
    while (stream->bytes_left > 0) {
        size_t i, len = stream->bytes_left < sizeof part ? stream->bytes_left
                                                         : sizeof part;
        if (!pb_read(stream, part, len))
            return false;
        for (i = 0; i < len; i++)
            body->other |= part[i] != 0;
        body->size += len;
    }
    return true;
}

static bool interop_write_body(pb_ostream_t *stream, const pb_field_t *field,
                               void *const *arg)
{
    static const pb_byte_t zeros[512];
    size_t left = ((const interop_body *)*arg)->size;
    if (!pb_encode_tag_for_field(stream, field) ||
        !pb_encode_varint(stream, left))
        return false;
    while (left > 0) {
        size_t len = left < sizeof zeros ? left : sizeof zeros;
        if (!pb_write(stream, zeros, len))
            return false;
        left -= len;
    }
    return true;
}

/* `body` says afterwards what came. */
static void interop_expect_body(grpc_testing_Payload *payload,
                                interop_body *body)
{
    memset(body, 0, sizeof *body);
    payload->body.funcs.decode = interop_read_body;
    payload->body.arg = body;
}

/* `body` says how much goes, and must live as long as the message. An empty
 * body is none, as proto3 has it. */
static void interop_set_body(grpc_testing_Payload *payload,
                             interop_body *body)
{
    if (body->size > 0) {
        payload->body.funcs.encode = interop_write_body;
        payload->body.arg = body;
    }
}

/* ---- options: --name value and --name=value ---- */

typedef struct interop_option {
    const char *name;  /* without the dashes */
    const char *about;
    const char **text; /* where the value goes: one of these three */
    long *number;
    bool *flag;        /* "--name" alone means true */
} interop_option;

static void interop_usage(const char *program, const interop_option *options)
{
    printf("usage: %s [--OPTION VALUE | --OPTION=VALUE]...\n", program);
    for (; options->name; options++)
        printf("  --%-45s %s\n", options->name, options->about);
}

static void interop_refuse(const char *program, const char *what,
                           const char *which)
{
    fprintf(stderr, "%s: %s: %s; --help names all options\n", program, which,
            what);
    exit(2);
}

static bool interop_is_bool(const char *text)
{
    return text && (strcmp(text, "true") == 0 || strcmp(text, "false") == 0);
}

/* The value of an option, or NULL: a flag stands alone. */
static const char *interop_value(const interop_option *option, char *word,
                                 char **next, int *used)
{
    char *equals = strchr(word, '=');
    *used = 1;
    if (equals)
        return equals + 1;
    if (option->flag && !interop_is_bool(*next))
        return NULL;
    *used = 2;
    return *next ? *next : "";
}

static void interop_store(const char *program, const interop_option *option,
                          const char *value)
{
    char *end;
    if (option->text) {
        *option->text = value;
    } else if (option->number) {
        *option->number = strtol(value, &end, 10);
        if (end == value || *end != 0 || *option->number < 0)
            interop_refuse(program, "wants a number", option->name);
    } else if (value && !interop_is_bool(value)) {
        interop_refuse(program, "wants true or false", option->name);
    } else {
        *option->flag = !value || strcmp(value, "true") == 0;
    }
}

/* `options` ends with a name that is NULL. What is wrong ends the program. */
static void interop_parse(char **argv, const interop_option *options)
{
    const char *program = argv[0];
    for (argv++; *argv; ) {
        char *word = *argv;
        const interop_option *option = options;
        size_t len;
        int used;
        if (strncmp(word, "--", 2) != 0)
            interop_refuse(program, "is no option", word);
        word += 2;
        len = strcspn(word, "=");
        if (strcmp(word, "help") == 0) {
            interop_usage(program, options);
            exit(0);
        }
        while (option->name && (strlen(option->name) != len ||
                                strncmp(option->name, word, len) != 0))
            option++;
        if (!option->name)
            interop_refuse(program, "is no option", *argv);
        interop_store(program, option,
                      interop_value(option, word, argv + 1, &used));
        argv += used;
    }
}

static void interop_refuse_tls(const char *program, bool use_tls)
{
    if (use_tls) {
        fprintf(stderr, "%s: --use_tls=true: TLS is not built in yet, only "
                "plaintext (--use_tls=false) is\n", program);
        exit(2);
    }
}

#endif

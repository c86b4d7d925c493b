#pragma once

#include <stddef.h>
#include <stdint.h>

/* Opcodes of frames (RFC 6455 5.2). */
#define GP_WEBSOCKET_CONTINUATION 0x0
#define GP_WEBSOCKET_TEXT 0x1
#define GP_WEBSOCKET_BINARY 0x2
#define GP_WEBSOCKET_CLOSE 0x8
#define GP_WEBSOCKET_PING 0x9
#define GP_WEBSOCKET_PONG 0xa

/* Header of a frame without its mask: two bytes and a length of up to eight. */
#define GP_WEBSOCKET_HEAD_MAX 10

/*
 * Where the bytes of a client stand in its frames. All zero at the beginning;
 * nothing of the payload is kept or copied.
 */
typedef struct {
    uint64_t left; /* bytes to skip: mask and payload */
    uint8_t head[GP_WEBSOCKET_HEAD_MAX];
    uint8_t have; /* bytes of head */
    uint8_t broken; /* not WebSocket: nothing more is told */
} gp_websocket_t;

typedef struct {
    uint64_t len; /* bytes of payload, as they are on the wire: compressed ones count compressed */
    uint8_t opcode;
    uint8_t final;
} gp_websocket_frame_t;

/*
 * gp_websocket_read() - find the next frame that begins in what a client sent
 *
 * Takes bytes off the front (*data, *len move on). 1: a frame begins, *ret_frame
 * is its header, call again; 0: all bytes are taken; -GP_INVALID_ARGUMENT: what
 * arrived is no masked client frame of RFC 6455 5.2, now and from now on.
 */
int gp_websocket_read(gp_websocket_t *reader, const uint8_t **data, size_t *len, gp_websocket_frame_t *ret_frame);

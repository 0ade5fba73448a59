/* The server, and what its client shares with it: see nghttp2_echo.h. */
#include "nghttp2_echo.h"

static const nghttp2_nv response_fields[] = {
    ECHO_FIELD(":status", "200"),
    ECHO_FIELD("content-type", "application/grpc"),
};

static const nghttp2_nv trailer_fields[] = { ECHO_FIELD("grpc-status", "0") };

/* ---- slots ---- */

static echo_slot slots[ECHO_SLOTS], *free_slots;

static void slot_give(echo_slot *slot)
{
    slot->next = free_slots;
    free_slots = slot;
}

static echo_slot *slot_take(void)
{
    echo_slot *slot = free_slots;
    if (slot) {
        free_slots = slot->next;
        memset(slot, 0, sizeof(*slot));
    }
    return slot;
}

static void slots_init(void)
{
    size_t i;
    for (i = 0; i < ECHO_SLOTS; i++)
        slot_give(&slots[i]);
}

/* ---- server ---- */

static ssize_t read_reply(nghttp2_session *session, int32_t stream,
                          uint8_t *out, size_t cap, uint32_t *flags,
                          nghttp2_data_source *source, void *user)
{
    echo_slot *slot = source->ptr;
    (void)user;
    if (cap < slot->body_len)
        return NGHTTP2_ERR_DEFERRED;
    memcpy(out, slot->body, slot->body_len);
    *flags = NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    nghttp2_submit_trailer(session, stream, trailer_fields,
                           ECHO_COUNT(trailer_fields));
    return (ssize_t)slot->body_len;
}

static void reply(nghttp2_session *session, echo_slot *slot)
{
    nghttp2_data_provider provider;
    bool good = slot->good_path && slot->good_type &&
                echo_message_check(slot->body, slot->body_len);
    if (!good) {
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, slot->stream,
                                  NGHTTP2_INTERNAL_ERROR);
        return;
    }
    slot->body_len = echo_message_write(slot->body);
    provider.source.ptr = slot;
    provider.read_callback = read_reply;
    nghttp2_submit_response(session, slot->stream, response_fields,
                            ECHO_COUNT(response_fields), &provider);
}

static int server_begin_headers(nghttp2_session *session,
                                const nghttp2_frame *frame, void *user)
{
    echo_slot *slot = slot_take();
    (void)user;
    if (!slot)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    slot->stream = frame->hd.stream_id;
    nghttp2_session_set_stream_user_data(session, slot->stream, slot);
    return 0;
}

static int server_header(nghttp2_session *session, const nghttp2_frame *frame,
                         const uint8_t *name, size_t name_len,
                         const uint8_t *value, size_t value_len,
                         uint8_t flags, void *user)
{
    echo_slot *slot =
        nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    (void)flags;
    (void)user;
    if (!slot)
        return 0;
    if (ECHO_IS(name, name_len, ":path"))
        slot->good_path = ECHO_IS(value, value_len, "/perf.Echo/Unary");
    else if (ECHO_IS(name, name_len, "content-type"))
        slot->good_type = ECHO_IS(value, value_len, "application/grpc");
    return 0;
}

static int server_data(nghttp2_session *session, uint8_t flags,
                       int32_t stream, const uint8_t *data, size_t len,
                       void *user)
{
    echo_slot *slot = nghttp2_session_get_stream_user_data(session, stream);
    (void)flags;
    (void)user;
    if (slot)
        echo_body_append(slot, data, len);
    return 0;
}

static int server_frame(nghttp2_session *session, const nghttp2_frame *frame,
                        void *user)
{
    echo_slot *slot;
    (void)user;
    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    if (frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    slot = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (slot)
        reply(session, slot);
    return 0;
}

static int server_close(nghttp2_session *session, int32_t stream,
                        uint32_t code, void *user)
{
    echo_slot *slot = nghttp2_session_get_stream_user_data(session, stream);
    (void)code;
    (void)user;
    if (slot)
        slot_give(slot);
    return 0;
}

nghttp2_session *echo_server_new(void)
{
    nghttp2_session *session;
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    static bool ready;
    if (!ready)
        slots_init();
    ready = true;
    nghttp2_option_new(&option);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_begin_headers_callback(
        callbacks, server_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, server_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks,
                                                              server_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks,
                                                         server_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks,
                                                           server_close);
    nghttp2_session_server_new2(&session, callbacks, NULL, option);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, NULL, 0);
    return session;
}

size_t echo_drain(nghttp2_session *session, uint8_t *out, size_t cap)
{
    const uint8_t *data;
    size_t len = 0;
    ssize_t got;
    while ((got = nghttp2_session_mem_send(session, &data)) > 0) {
        if ((size_t)got > cap - len)
            return 0;
        memcpy(out + len, data, (size_t)got);
        len += (size_t)got;
    }
    return len;
}

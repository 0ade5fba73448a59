/* Messages of nanopb, through calls: fields that the structs hold, and fields
 * that callbacks read and write. */
#define CGRPC_IMPLEMENTATION
#include "cgrpc_memory.h"
#include "nanopb_test.cgrpc.h"
#include "test.h"

enum { PIPES = 2, PIPE_BYTES = 300, RX_BYTES = 4096, TX_BYTES = 256 };

CGRPC_MEMORY_DEFINE(memory, PIPES, PIPE_BYTES);
CGRPC_SERVER_DEFINE(server, PIPES, 2, RX_BYTES, TX_BYTES,
                    CGRPC_MAX(nanopbtest_Shapes_SCRATCH,
                              nanopbtest_Blobs_SCRATCH));
CGRPC_CHANNEL_DEFINE(channel, RX_BYTES, TX_BYTES);
/* Its window is small until a call with more memory widens its own. */
CGRPC_CHANNEL_DEFINE(narrow, 64, TX_BYTES);
CGRPC_CALL_DEFINE(call, RX_BYTES);

/* ---- callback fields ---- */

/* What an encode callback writes. */
typedef struct source {
    uint32_t len, seed;
    uint32_t passes;  /* how often it was asked */
    uint32_t fail_at; /* from this pass on it fails; 0: never */
    uint32_t turn_at; /* from this pass on it writes something else */
} source;

/* What decode callbacks have read. */
typedef struct sink {
    uint32_t bytes, sum, numbers, number_sum;
    uint32_t fail; /* the callback refuses */
    char name[16];
} sink;

static uint8_t byte_of(uint32_t seed, uint32_t at)
{
    return (uint8_t)(seed + at * 7 + at / 256);
}

static uint32_t sum_of(uint32_t seed, uint32_t len)
{
    uint32_t at, sum = 0;
    for (at = 0; at < len; at++)
        sum = sum * 31 + byte_of(seed, at);
    return sum;
}

static bool put_data(pb_ostream_t *stream, const pb_field_t *field,
                     void *const *arg)
{
    source *from = (source *)*arg;
    uint32_t at, seed = from->seed;
    from->passes++;
    if (from->turn_at && from->passes >= from->turn_at)
        seed++;
    if (!pb_encode_tag_for_field(stream, field) ||
        !pb_encode_varint(stream, from->len))
        return false;
    for (at = 0; at < from->len; at++) {
        pb_byte_t byte = byte_of(seed, at);
        if (!pb_write(stream, &byte, 1))
            return false;
    }
    return from->fail_at == 0 || from->passes < from->fail_at;
}

/* The numbers 1, 2, 3 ... `len`. */
static bool put_numbers(pb_ostream_t *stream, const pb_field_t *field,
                        void *const *arg)
{
    uint32_t at, count = ((source *)*arg)->len;
    for (at = 1; at <= count; at++)
        if (!pb_encode_tag(stream, PB_WT_VARINT, field->tag) ||
            !pb_encode_varint(stream, at))
            return false;
    return true;
}

static bool put_name(pb_ostream_t *stream, const pb_field_t *field,
                     void *const *arg)
{
    const char *text = (const char *)*arg;
    return pb_encode_tag_for_field(stream, field) &&
           pb_encode_string(stream, (const pb_byte_t *)text, strlen(text));
}

static bool get_data(pb_istream_t *stream, const pb_field_t *field, void **arg)
{
    sink *to = (sink *)*arg;
    pb_byte_t byte;
    (void)field;
    while (stream->bytes_left) {
        if (!pb_read(stream, &byte, 1))
            return false;
        to->sum = to->sum * 31 + byte;
        to->bytes++;
    }
    return !to->fail;
}

static bool get_number(pb_istream_t *stream, const pb_field_t *field,
                       void **arg)
{
    sink *to = (sink *)*arg;
    uint32_t number;
    (void)field;
    if (!pb_decode_varint32(stream, &number))
        return false;
    to->numbers++;
    to->number_sum += number;
    return true;
}

static bool get_name(pb_istream_t *stream, const pb_field_t *field, void **arg)
{
    sink *to = (sink *)*arg;
    size_t len = stream->bytes_left;
    (void)field;
    if (len >= sizeof(to->name))
        return false;
    to->name[len] = 0;
    return pb_read(stream, (pb_byte_t *)to->name, len);
}

static void fill(nanopbtest_Blob *blob, source *from)
{
    blob->data.funcs.encode = put_data;
    blob->data.arg = from;
}

static void catch_in(nanopbtest_Blob *blob, sink *to)
{
    uint32_t fail = to->fail;
    memset(to, 0, sizeof(*to));
    to->fail = fail;
    blob->data.funcs.decode = get_data;
    blob->data.arg = to;
    blob->numbers.funcs.decode = get_number;
    blob->numbers.arg = to;
    blob->name.funcs.decode = get_name;
    blob->name.arg = to;
}

static int caught(const sink *from, uint32_t seed, uint32_t len)
{
    return from->bytes == len && from->sum == sum_of(seed, len);
}

/* ---- the service of shapes ---- */

static nanopbtest_Shape gathered;
static int spoil; /* replies break a rule of nanopb */

enum { SPOIL_COUNT = 1, SPOIL_TEXT, SPOIL_UNION };

static void spoil_it(nanopbtest_Shape *shape)
{
    if (spoil == SPOIL_COUNT)
        shape->corners_count = 5;
    if (spoil == SPOIL_TEXT)
        memset(shape->name, 'x', sizeof(shape->name));
    if (spoil == SPOIL_UNION) {
        shape->which_fill = nanopbtest_Shape_text_tag;
        memset(shape->fill.text, 'x', sizeof(shape->fill.text));
    }
}

static cgrpc_status mirror(cgrpc_call *from, const nanopbtest_Shape *in,
                           nanopbtest_Shape *out)
{
    (void)from;
    *out = *in;
    spoil_it(out);
    return CGRPC_OK;
}

static cgrpc_status corners(cgrpc_call *from, const nanopbtest_Shape *in)
{
    uint32_t *at = (uint32_t *)cgrpc_call_state(from);
    for (; *at < in->corners_count; ++*at)
        if (!nanopbtest_Shapes_Corners_reply(from, &in->corners[*at]))
            return CGRPC_PENDING;
    return CGRPC_OK;
}

static cgrpc_status gather(cgrpc_call *from, const nanopbtest_Point *in,
                           nanopbtest_Shape *out)
{
    uint32_t *count = (uint32_t *)cgrpc_call_state(from);
    if (!in) {
        gathered.corners_count = (pb_size_t)*count;
        *out = gathered;
        return CGRPC_OK;
    }
    if (*count == 4)
        return cgrpc_fail(from, CGRPC_OUT_OF_RANGE, "four corners at most");
    gathered.corners[(*count)++] = *in;
    return CGRPC_NEXT;
}

static cgrpc_status chat(cgrpc_call *from, const nanopbtest_Shape *in)
{
    nanopbtest_Shape reply;
    if (!in)
        return cgrpc_recv_ended(from) ? CGRPC_OK : CGRPC_NEXT;
    reply = *in;
    reply.weights[0]++;
    spoil_it(&reply);
    if (!nanopbtest_Shapes_Chat_reply(from, &reply))
        return CGRPC_PENDING;
    return CGRPC_NEXT;
}

static const nanopbtest_Shapes_handlers shapes = { mirror, corners, gather,
                                                   chat };

/* ---- the service of blobs ---- */

static sink received;
static source made;
static int arms, runs, rearmed; /* hooks; handlers; hooks in a re-entry */
static uint32_t pauses;         /* times that Count leaves with PENDING */
static int by_hand;             /* Make sends its reply itself */
static uint8_t kept[1024];      /* bytes of a blob for Echo */
static uint32_t kept_len;

static void count_arm(cgrpc_call *from, nanopbtest_Blob *in)
{
    arms++;
    rearmed += *(uint32_t *)cgrpc_call_state(from) != 0;
    catch_in(in, &received);
}

static cgrpc_status count(cgrpc_call *from, const nanopbtest_Blob *in,
                          nanopbtest_Tally *out)
{
    uint32_t *entered = (uint32_t *)cgrpc_call_state(from);
    runs++;
    CHECK(in->id == 77);
    if ((*entered)++ < pauses) {
        cgrpc_call_wake(from);
        return CGRPC_PENDING;
    }
    out->bytes = received.bytes;
    out->sum = received.sum;
    out->numbers = received.numbers;
    strcpy(out->note, received.name);
    return CGRPC_OK;
}

static void make_blob(const nanopbtest_Tally *in, nanopbtest_Blob *out)
{
    made.len = in->bytes;
    made.seed = in->sum;
    out->id = 5;
    fill(out, &made);
    if (!in->numbers)
        return;
    out->numbers.funcs.encode = put_numbers;
    out->numbers.arg = &made;
    out->name.funcs.encode = put_name;
    out->name.arg = (void *)(uintptr_t)"blob";
}

static cgrpc_status make(cgrpc_call *from, const nanopbtest_Tally *in,
                         nanopbtest_Blob *out)
{
    make_blob(in, out);
    if (by_hand && !cgrpc_send(from, out))
        return CGRPC_PENDING;
    return CGRPC_OK;
}

static cgrpc_status make_many(cgrpc_call *from, const nanopbtest_Tally *in)
{
    uint32_t *at = (uint32_t *)cgrpc_call_state(from);
    for (; *at < 3; ++*at) {
        nanopbtest_Blob blob = nanopbtest_Blob_init_zero;
        make_blob(in, &blob);
        made.seed = in->sum + *at;
        if (!nanopbtest_Blobs_MakeMany_reply(from, &blob))
            return CGRPC_PENDING;
    }
    return CGRPC_OK;
}

static bool keep(pb_istream_t *stream, const pb_field_t *field, void **arg)
{
    (void)field, (void)arg;
    kept_len = (uint32_t)stream->bytes_left;
    return kept_len <= sizeof(kept) && pb_read(stream, kept, kept_len);
}

static bool put_kept(pb_ostream_t *stream, const pb_field_t *field,
                     void *const *arg)
{
    (void)arg;
    return pb_encode_tag_for_field(stream, field) &&
           pb_encode_string(stream, kept, kept_len);
}

static void echo_arm(cgrpc_call *from, nanopbtest_Blob *in)
{
    (void)from;
    arms++;
    kept_len = 0;
    in->data.funcs.decode = keep;
}

static cgrpc_status echo(cgrpc_call *from, const nanopbtest_Blob *in)
{
    nanopbtest_Blob reply = nanopbtest_Blob_init_zero;
    if (!in)
        return cgrpc_recv_ended(from) ? CGRPC_OK : CGRPC_NEXT;
    runs++;
    reply.id = in->id + 1;
    reply.data.funcs.encode = put_kept;
    if (!nanopbtest_Blobs_Echo_reply(from, &reply))
        return CGRPC_PENDING;
    return CGRPC_NEXT;
}

static const nanopbtest_Blobs_handlers blobs = {
    count, count_arm, make, make_many, echo, echo_arm
};

/* ---- the frame of each test ---- */

static const cgrpc_serving services[] = { nanopbtest_Shapes_SERVING(&shapes),
                                          nanopbtest_Blobs_SERVING(&blobs) };

static void begin(void)
{
    cgrpc_server_desc of_server;
    cgrpc_channel_desc of_channel;
    memset(&of_server, 0, sizeof(of_server));
    memset(&of_channel, 0, sizeof(of_channel));
    memset(&gathered, 0, sizeof(gathered));
    memset(&received, 0, sizeof(received));
    memset(&made, 0, sizeof(made));
    spoil = arms = runs = rearmed = by_hand = 0;
    pauses = 0;
    cgrpc_memory_init(&memory, &server);
    of_server.port = cgrpc_memory_port(&memory);
    of_server.services = services;
    of_server.service_count = 2;
    of_channel.port = cgrpc_memory_port(&memory);
    of_channel.target = "memory";
    CHECK(cgrpc_server_init(&server, &of_server) == CGRPC_SUCCESS);
    CHECK(cgrpc_channel_init(&channel, &of_channel) == CGRPC_SUCCESS);
    CHECK(cgrpc_channel_init(&narrow, &of_channel) == CGRPC_SUCCESS);
}

static void end(void)
{
    cgrpc_channel_close(&channel);
    cgrpc_channel_close(&narrow);
}

static nanopbtest_Shape full_shape(void)
{
    nanopbtest_Shape shape = nanopbtest_Shape_init_zero;
    pb_size_t i;
    strcpy(shape.name, "fifteen letters");
    for (i = 0; i < 4; i++) {
        shape.corners[i].x = -100000 * (i + 1);
        shape.corners[i].y = i;
        snprintf(shape.corners[i].label, sizeof(shape.corners[i].label),
                 "corner %d", i);
    }
    shape.corners_count = 4;
    shape.weights[0] = 1;
    shape.weights[1] = UINT32_MAX;
    shape.weights[2] = 3;
    shape.digest.size = 8;
    memcpy(shape.digest.bytes, "\0\1\2\3\xff\xfe\0\n", 8);
    shape.has_center = true;
    shape.center.x = INT32_MIN;
    strcpy(shape.center.label, "middle");
    shape.has_area = true;
    shape.area = 2.5;
    return shape;
}

static int same_point(const nanopbtest_Point *a, const nanopbtest_Point *b)
{
    return a->x == b->x && a->y == b->y && strcmp(a->label, b->label) == 0;
}

static int same_shape(const nanopbtest_Shape *a, const nanopbtest_Shape *b)
{
    int i, same = a->corners_count == b->corners_count;
    for (i = 0; same && i < a->corners_count; i++)
        same = same_point(&a->corners[i], &b->corners[i]);
    return same && strcmp(a->name, b->name) == 0 &&
           memcmp(a->weights, b->weights, sizeof(a->weights)) == 0 &&
           a->digest.size == b->digest.size &&
           memcmp(a->digest.bytes, b->digest.bytes, a->digest.size) == 0 &&
           a->has_center == b->has_center &&
           same_point(&a->center, &b->center) &&
           a->which_fill == b->which_fill && a->has_area == b->has_area &&
           a->area >= b->area && a->area <= b->area;
}

static int mirrors(const nanopbtest_Shape *in)
{
    nanopbtest_Shape out = nanopbtest_Shape_init_zero;
    return nanopbtest_Shapes_Mirror(&channel, in, &out, NULL) == CGRPC_OK &&
           same_shape(in, &out);
}

/* ---- fields that the structs hold ---- */

TEST(unary__carries_arrays_strings_bytes_and_submessages)
{
    nanopbtest_Shape shape = full_shape(), empty = nanopbtest_Shape_init_zero;
    begin();
    CHECK(mirrors(&shape));
    CHECK(mirrors(&empty));
    end();
}

TEST(unary__carries_each_choice_of_a_oneof)
{
    nanopbtest_Shape in = nanopbtest_Shape_init_zero, out;
    begin();
    in.which_fill = nanopbtest_Shape_color_tag;
    in.fill.color = 0xFF8000;
    CHECK(nanopbtest_Shapes_Mirror(&channel, &in, &out, NULL) == CGRPC_OK);
    CHECK(out.which_fill == nanopbtest_Shape_color_tag &&
          out.fill.color == 0xFF8000);
    in.which_fill = nanopbtest_Shape_text_tag;
    strcpy(in.fill.text, "dots");
    CHECK(nanopbtest_Shapes_Mirror(&channel, &in, &out, NULL) == CGRPC_OK);
    CHECK(out.which_fill == nanopbtest_Shape_text_tag &&
          strcmp(out.fill.text, "dots") == 0);
    memset(&in.fill, 0, sizeof(in.fill));
    in.which_fill = nanopbtest_Shape_spot_tag;
    in.fill.spot.x = -7;
    CHECK(nanopbtest_Shapes_Mirror(&channel, &in, &out, NULL) == CGRPC_OK);
    CHECK(out.which_fill == nanopbtest_Shape_spot_tag &&
          out.fill.spot.x == -7);
    end();
}

static int streams_corners(void)
{
    nanopbtest_Shape shape = full_shape();
    nanopbtest_Point point;
    int got = 0, good = 0;
    CHECK(!nanopbtest_Shapes_Corners_start(&channel, &call, &shape, NULL));
    do {
        while (nanopbtest_Shapes_Corners_recv(&call, &point) == CGRPC_GOT) {
            good += got < 4 && same_point(&point, &shape.corners[got]);
            got++;
        }
    } while (cgrpc_wait(&call, 1000));
    return got == 4 && good == 4 && cgrpc_call_status(&call) == CGRPC_OK;
}

/* The status of a Gather of `points` points. */
static cgrpc_status gathers(int points, nanopbtest_Shape *out)
{
    nanopbtest_Shape shape = full_shape();
    int i;
    CHECK(!nanopbtest_Shapes_Gather_start(&channel, &call, NULL));
    for (i = 0; i < points && !cgrpc_call_ended(&call); i++)
        while (!nanopbtest_Shapes_Gather_send(&call, &shape.corners[i % 4]))
            if (!cgrpc_wait(&call, 1000))
                return cgrpc_call_status(&call);
    cgrpc_send_end(&call);
    do {
        nanopbtest_Shapes_Gather_recv(&call, out);
    } while (cgrpc_wait(&call, 1000));
    return cgrpc_call_status(&call);
}

/* How many of `rounds` shapes came back changed as they should. */
static int chats(int rounds)
{
    nanopbtest_Shape in = full_shape(), out;
    int sent = 0, good = 0;
    CHECK(!nanopbtest_Shapes_Chat_start(&channel, &call, NULL));
    do {
        in.weights[0] = (uint32_t)sent;
        while (sent < rounds && nanopbtest_Shapes_Chat_send(&call, &in))
            in.weights[0] = (uint32_t)++sent;
        if (sent == rounds)
            cgrpc_send_end(&call);
        while (nanopbtest_Shapes_Chat_recv(&call, &out) == CGRPC_GOT) {
            in.weights[0] = (uint32_t)good + 1;
            good += same_shape(&in, &out);
        }
    } while (cgrpc_wait(&call, 1000));
    return good;
}

TEST(server_stream__carries_structs_in_order)
{
    begin();
    CHECK(streams_corners());
    end();
}

TEST(client_stream__carries_structs_in_order)
{
    nanopbtest_Shape shape = full_shape(), out = nanopbtest_Shape_init_zero;
    begin();
    CHECK(gathers(4, &out) == CGRPC_OK);
    CHECK(out.corners_count == 4 &&
          same_point(&out.corners[3], &shape.corners[3]));
    end();
}

TEST(client_stream__may_be_ended_by_its_handler)
{
    nanopbtest_Shape out = nanopbtest_Shape_init_zero;
    begin();
    CHECK(gathers(5, &out) == CGRPC_OUT_OF_RANGE);
    CHECK(strcmp(cgrpc_call_message(&call), "four corners at most") == 0);
    end();
}

TEST(bidi__carries_structs_both_ways)
{
    begin();
    CHECK(chats(20) == 20);
    CHECK(cgrpc_call_status(&call) == CGRPC_OK);
    end();
}

/* ---- decode callbacks of a server ---- */

static cgrpc_status counts(source *from, nanopbtest_Tally *tally)
{
    nanopbtest_Blob blob = nanopbtest_Blob_init_zero;
    blob.id = 77;
    fill(&blob, from);
    blob.name.funcs.encode = put_name;
    blob.name.arg = (void *)(uintptr_t)"a name";
    return nanopbtest_Blobs_Count(&channel, &blob, tally, NULL);
}

TEST(arm__sets_decode_callbacks_of_a_request)
{
    source from = { 100, 9, 0, 0, 0 };
    nanopbtest_Tally tally = nanopbtest_Tally_init_zero;
    begin();
    CHECK(counts(&from, &tally) == CGRPC_OK);
    CHECK(tally.bytes == 100 && tally.sum == sum_of(9, 100));
    CHECK(strcmp(tally.note, "a name") == 0);
    CHECK(arms == 1 && runs == 1 && from.passes == 1);
    end();
}

TEST(arm__is_called_again_at_each_re_entry)
{
    source from = { 100, 9, 0, 0, 0 };
    nanopbtest_Tally tally = nanopbtest_Tally_init_zero;
    begin();
    pauses = 3;
    CHECK(counts(&from, &tally) == CGRPC_OK);
    CHECK(tally.bytes == 100 && tally.sum == sum_of(9, 100));
    CHECK(arms == 4 && runs == 4 && rearmed == 3);
    end();
}

TEST(arm__is_called_for_each_message_of_a_stream)
{
    source from = { 200, 0, 0, 0, 0 };
    nanopbtest_Blob blob, answer;
    sink to;
    uint32_t sent = 0, got = 0;
    begin();
    memset(&to, 0, sizeof(to));
    CHECK(!nanopbtest_Blobs_Echo_start(&channel, &call, NULL));
    do {
        memset(&blob, 0, sizeof(blob));
        fill(&blob, &from);
        blob.id = from.seed = sent * 10;
        if (sent < 10 && nanopbtest_Blobs_Echo_send(&call, &blob))
            sent++;
        if (sent == 10)
            cgrpc_send_end(&call);
        memset(&answer, 0, sizeof(answer));
        catch_in(&answer, &to);
        if (nanopbtest_Blobs_Echo_recv(&call, &answer) == CGRPC_GOT) {
            CHECK(answer.id == got * 10 + 1);
            CHECK(caught(&to, got * 10, 200));
            got++;
        }
    } while (cgrpc_wait(&call, 1000));
    CHECK(got == 10 && cgrpc_call_status(&call) == CGRPC_OK);
    CHECK(runs >= 10 && arms == runs); /* once before each decoding */
    end();
}

TEST(arm__callback_that_refuses_fails_the_call)
{
    source from = { 10, 0, 0, 0, 0 };
    nanopbtest_Tally tally;
    begin();
    received.fail = 1;
    CHECK(counts(&from, &tally) == CGRPC_INTERNAL);
    CHECK(strcmp(cgrpc_call_message(&channel_call),
                 "request message cannot be decoded") == 0);
    CHECK(arms == 1 && runs == 0);
    received.fail = 0;
    CHECK(counts(&from, &tally) == CGRPC_OK);
    end();
}

/* ---- encode callbacks: messages larger than every buffer ---- */

TEST(replay__sends_a_request_that_no_buffer_holds)
{
    source from = { 4000, 3, 0, 0, 0 };
    nanopbtest_Tally tally = nanopbtest_Tally_init_zero;
    begin();
    CHECK(counts(&from, &tally) == CGRPC_OK);
    CHECK(tally.bytes == 4000 && tally.sum == sum_of(3, 4000));
    CHECK(from.passes > 4000 / TX_BYTES && runs == 1);
    end();
}

static cgrpc_status makes(uint32_t len, uint32_t numbers, sink *to)
{
    nanopbtest_Tally want = nanopbtest_Tally_init_zero;
    nanopbtest_Blob blob = nanopbtest_Blob_init_zero;
    want.bytes = len;
    want.sum = 17;
    want.numbers = numbers;
    catch_in(&blob, to);
    return nanopbtest_Blobs_Make(&channel, &want, &blob, NULL);
}

TEST(reply__with_callbacks_is_decoded_by_callbacks_of_the_client)
{
    sink to;
    begin();
    memset(&to, 0, sizeof(to));
    CHECK(makes(50, 1, &to) == CGRPC_OK);
    CHECK(caught(&to, 17, 50));
    CHECK(to.numbers == 50 && to.number_sum == 50 * 51 / 2);
    CHECK(strcmp(to.name, "blob") == 0);
    end();
}

TEST(reply__over_the_transmit_buffer_is_encoded_twice)
{
    sink to;
    begin();
    memset(&to, 0, sizeof(to));
    CHECK(makes(4000, 0, &to) == CGRPC_OK);
    CHECK(caught(&to, 17, 4000) && made.passes == 2);
    end();
}

TEST(reply__over_all_buffers_says_so)
{
    sink to;
    begin();
    memset(&to, 0, sizeof(to));
    CHECK(makes(RX_BYTES + TX_BYTES + 100, 0, &to) ==
          CGRPC_RESOURCE_EXHAUSTED);
    CHECK(strcmp(cgrpc_call_message(&channel_call),
                 "reply over the server's limit") == 0);
    CHECK(makes(10, 0, &to) == CGRPC_OK);
    end();
}

TEST(replay__sends_a_unary_reply_that_its_handler_offers_itself)
{
    sink to;
    begin();
    memset(&to, 0, sizeof(to));
    by_hand = 1;
    CHECK(makes(4000, 0, &to) == CGRPC_OK);
    CHECK(caught(&to, 17, 4000));
    CHECK(made.passes > 4000 / TX_BYTES);
    end();
}

/* How many of three blobs of `len` bytes came whole. */
static int makes_many(cgrpc_channel *from, uint32_t len)
{
    nanopbtest_Tally want = nanopbtest_Tally_init_zero;
    nanopbtest_Blob blob;
    cgrpc_recv_result got;
    sink to;
    int good = 0;
    memset(&to, 0, sizeof(to));
    want.bytes = len;
    CHECK(!nanopbtest_Blobs_MakeMany_start(from, &call, &want, NULL));
    do {
        do {
            memset(&blob, 0, sizeof(blob));
            catch_in(&blob, &to);
            got = nanopbtest_Blobs_MakeMany_recv(&call, &blob);
            if (got == CGRPC_GOT)
                good += caught(&to, (uint32_t)good, len) && blob.id == 5;
        } while (got == CGRPC_GOT);
    } while (cgrpc_wait(&call, 1000));
    return good;
}

TEST(replay__sends_replies_over_buffers_and_windows_whole)
{
    begin();
    /* The second waits for credit: the window is what the client can hold. */
    CHECK(makes_many(&channel, 4000) == 3);
    CHECK(cgrpc_call_status(&call) == CGRPC_OK);
    CHECK(made.passes > 3 * 4000 / TX_BYTES);
    end();
}

TEST(replay__sends_replies_over_the_first_window_whole)
{
    begin();
    CHECK(makes_many(&narrow, 4000) == 3);
    CHECK(cgrpc_call_status(&call) == CGRPC_OK);
    end();
}

TEST(replay__sends_replies_of_every_size_whole)
{
    uint32_t len, good = 0;
    begin();
    for (len = 0; len < 700; len++)
        good += makes_many(&channel, len) == 3;
    CHECK(good == 700);
    end();
}

TEST(replay__resets_the_stream_when_a_message_changes)
{
    begin();
    made.turn_at = 4; /* one to try, one to measure, the first part */
    CHECK(makes_many(&channel, 4000) == 0);
    CHECK(cgrpc_call_status(&call) == CGRPC_INTERNAL);
    made.turn_at = 0;
    CHECK(makes_many(&channel, 10) == 3);
    end();
}

/* ---- what cannot be encoded ---- */

static cgrpc_status mirror_status(const nanopbtest_Shape *shape)
{
    nanopbtest_Shape out = nanopbtest_Shape_init_zero;
    return nanopbtest_Shapes_Mirror(&channel, shape, &out, NULL);
}

TEST(encoding__unary_reply_that_breaks_a_rule_is_internal)
{
    nanopbtest_Shape shape = full_shape();
    begin();
    for (spoil = SPOIL_COUNT; spoil <= SPOIL_UNION; spoil++) {
        CHECK(mirror_status(&shape) == CGRPC_INTERNAL);
        CHECK(strcmp(cgrpc_call_message(&channel_call),
                     "reply cannot be encoded") == 0);
    }
    spoil = 0;
    CHECK(mirrors(&shape));
    end();
}

TEST(encoding__unary_reply_whose_callback_fails_is_internal)
{
    sink to;
    uint32_t len;
    begin();
    memset(&to, 0, sizeof(to));
    for (len = 10; len <= 2000; len += 199) {
        made.passes = 0;
        made.fail_at = 1;
        CHECK(makes(len, 0, &to) == CGRPC_INTERNAL);
    }
    made.fail_at = 0;
    CHECK(makes(10, 0, &to) == CGRPC_OK);
    end();
}

TEST(encoding__streamed_reply_that_breaks_a_rule_is_internal)
{
    nanopbtest_Shape shape = full_shape();
    begin();
    spoil = SPOIL_TEXT;
    CHECK(chats(3) == 0);
    CHECK(cgrpc_call_status(&call) == CGRPC_INTERNAL);
    CHECK(strcmp(cgrpc_call_message(&call),
                 "a message could not be sent") == 0);
    spoil = 0;
    CHECK(mirrors(&shape));
    end();
}

TEST(encoding__callback_that_fails_in_any_pass_is_internal)
{
    uint32_t pass;
    begin();
    for (pass = 1; pass <= 10; pass++) {
        made.passes = 0;
        made.fail_at = pass;
        CHECK(makes_many(&channel, 4000) == 0);
        CHECK(cgrpc_call_status(&call) == CGRPC_INTERNAL);
    }
    made.fail_at = 0;
    CHECK(makes_many(&channel, 4000) == 3);
    end();
}

TEST(encoding__request_that_breaks_a_rule_never_arrives)
{
    nanopbtest_Shape shape = full_shape();
    source from = { 10, 0, 0, 1, 0 };
    nanopbtest_Tally tally;
    begin();
    shape.corners_count = 5;
    CHECK(mirror_status(&shape) == CGRPC_INTERNAL);
    CHECK(strcmp(cgrpc_call_message(&channel_call),
                 "request cannot be encoded, or changed") == 0);
    CHECK(counts(&from, &tally) == CGRPC_INTERNAL);
    CHECK(runs == 0);
    from.fail_at = 0;
    CHECK(counts(&from, &tally) == CGRPC_OK);
    end();
}

TEST(encoding__streamed_request_that_breaks_a_rule_ends_the_call)
{
    nanopbtest_Shape shape = full_shape();
    begin();
    CHECK(!nanopbtest_Shapes_Chat_start(&channel, &call, NULL));
    shape.corners_count = 5;
    while (!nanopbtest_Shapes_Chat_send(&call, &shape))
        if (!cgrpc_wait(&call, 1000))
            break;
    CHECK(cgrpc_call_ended(&call));
    CHECK(cgrpc_call_status(&call) == CGRPC_INTERNAL);
    end();
}

/* ---- what cannot be decoded ---- */

static cgrpc_method raw = { NULL, NULL, NULL, sizeof(cgrpc_bytes),
                            sizeof(cgrpc_bytes), CGRPC_UNARY };

/* The status of a unary call whose request is these bytes. */
static cgrpc_status offers(const char *path, const char *bytes, size_t len)
{
    cgrpc_bytes in, out = { NULL, 0 };
    in.data = (const uint8_t *)bytes;
    in.len = len;
    raw.path = path;
    return cgrpc_unary(&channel, &raw, &in, &out, NULL);
}

#define OFFER(bytes) \
    offers(nanopbtest_Shapes_Mirror_PATH, bytes, sizeof(bytes) - 1)

static void undecodable(cgrpc_status status)
{
    CHECK(status == CGRPC_INTERNAL);
    CHECK(strcmp(cgrpc_call_message(&channel_call),
                 "request message cannot be decoded") == 0);
}

TEST(decoding__malformed_request_is_internal)
{
    begin();
    undecodable(OFFER("\x0a"));                /* no length */
    undecodable(OFFER("\x0a\x05" "abcd"));     /* a string cut short */
    undecodable(OFFER("\x30\xff"));            /* a varint cut short */
    undecodable(OFFER("\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
    undecodable(OFFER("\x4d" "1234"));         /* 32 bits for a double */
    undecodable(OFFER("\x0f"));                /* no such wire type */
    undecodable(OFFER("\x00\x01"));            /* field 0 */
    undecodable(OFFER("\x2a\x03\x1a\x09" "x")); /* longer than its parent */
    CHECK(OFFER("") == CGRPC_OK);
    end();
}

TEST(decoding__request_over_the_sizes_of_a_struct_is_internal)
{
    begin();
    CHECK(OFFER("\x0a\x0f" "fifteen letters") == CGRPC_OK);
    undecodable(OFFER("\x0a\x10" "sixteen letters!"));
    CHECK(OFFER("\x12\0\x12\0\x12\0\x12\0") == CGRPC_OK);
    undecodable(OFFER("\x12\0\x12\0\x12\0\x12\0\x12\0"));
    CHECK(OFFER("\x22\x08" "12345678") == CGRPC_OK);
    undecodable(OFFER("\x22\x09" "123456789"));
    CHECK(OFFER("\x1a\x03\1\2\3") == CGRPC_OK);
    undecodable(OFFER("\x1a\x02\1\2"));     /* fixed_count is 3 */
    undecodable(OFFER("\x1a\x04\1\2\3\4"));
    end();
}

TEST(decoding__malformed_message_of_a_stream_ends_it)
{
    cgrpc_method method = { nanopbtest_Shapes_Gather_PATH, NULL, NULL,
                            sizeof(cgrpc_bytes), sizeof(cgrpc_bytes),
                            CGRPC_CLIENT_STREAM };
    cgrpc_bytes bad = { (const uint8_t *)"\x0a", 1 };
    begin();
    CHECK(!cgrpc_start(&channel, &call, &method, NULL, NULL, NULL, NULL));
    while (!cgrpc_send(&call, &bad))
        if (!cgrpc_wait(&call, 1000))
            break;
    while (cgrpc_wait(&call, 1000))
        ;
    CHECK(cgrpc_call_status(&call) == CGRPC_INTERNAL);
    CHECK(strcmp(cgrpc_call_message(&call),
                 "request message cannot be decoded") == 0);
    end();
}

TEST(decoding__unknown_fields_are_skipped)
{
    /* 100: a varint, 64 bits, a string, 32 bits; among fields that we know */
    static const char bytes[] = "\x30\x07"
                                "\xa0\x06\xff\xff\x03"
                                "\xa1\x06" "12345678"
                                "\x0a\x02" "ab"
                                "\xa2\x06\x05" "other"
                                "\xa5\x06" "1234"
                                "\x2a\x06\x7a\x02" "??" "\x08\x03";
    static const char same[] = "\x0a\x02" "ab" "\x1a\x03\0\0\0"
                               "\x2a\x02\x08\x03" "\x30\x07";
    cgrpc_bytes in = { (const uint8_t *)bytes, sizeof(bytes) - 1 };
    cgrpc_bytes out = { NULL, 0 };
    begin();
    raw.path = nanopbtest_Shapes_Mirror_PATH;
    CHECK(cgrpc_unary(&channel, &raw, &in, &out, NULL) == CGRPC_OK);
    CHECK(out.len == sizeof(same) - 1);
    CHECK(out.len == sizeof(same) - 1 && memcmp(out.data, same, out.len) == 0);
    end();
}

TEST(decoding__packed_numbers_reach_a_callback_one_by_one)
{
    begin();
    CHECK(offers(nanopbtest_Blobs_Count_PATH,
                 "\x08\x4d\x1a\x04\x01\x02\x80\x01\x18\x05", 10) == CGRPC_OK);
    CHECK(received.numbers == 4 && received.number_sum == 1 + 2 + 128 + 5);
    end();
}

TEST(decoding__client_callback_that_refuses_is_internal)
{
    sink to;
    begin();
    memset(&to, 0, sizeof(to));
    to.fail = 1;
    CHECK(makes(10, 0, &to) == CGRPC_INTERNAL);
    CHECK(strcmp(cgrpc_call_message(&channel_call),
                 "answer cannot be decoded") == 0);
    to.fail = 0;
    CHECK(makes(10, 0, &to) == CGRPC_OK);
    end();
}

TEST(decoding__client_without_callbacks_skips_their_fields)
{
    nanopbtest_Tally want = nanopbtest_Tally_init_zero;
    nanopbtest_Blob blob = nanopbtest_Blob_init_zero;
    begin();
    want.bytes = 300;
    CHECK(nanopbtest_Blobs_Make(&channel, &want, &blob, NULL) == CGRPC_OK);
    CHECK(blob.id == 5);
    end();
}

/* ---- all of it, in pieces ---- */

TEST(nanopb__works_with_every_split)
{
    uint32_t split, good = 0;
    nanopbtest_Shape shape = full_shape(), out;
    sink to;
    memset(&to, 0, sizeof(to));
    for (split = 1; split <= 40; split++) {
        begin();
        memory.to_server.split = memory.to_client.split = split;
        good += mirrors(&shape) && streams_corners() &&
                gathers(4, &out) == CGRPC_OK && chats(3) == 3 &&
                makes(600, 1, &to) == CGRPC_OK && caught(&to, 17, 600) &&
                makes_many(&channel, 1000) == 3;
        end();
    }
    CHECK(good == 40);
}

TESTS = {
    RUN(unary__carries_arrays_strings_bytes_and_submessages),
    RUN(unary__carries_each_choice_of_a_oneof),
    RUN(server_stream__carries_structs_in_order),
    RUN(client_stream__carries_structs_in_order),
    RUN(client_stream__may_be_ended_by_its_handler),
    RUN(bidi__carries_structs_both_ways),
    RUN(arm__sets_decode_callbacks_of_a_request),
    RUN(arm__is_called_again_at_each_re_entry),
    RUN(arm__is_called_for_each_message_of_a_stream),
    RUN(arm__callback_that_refuses_fails_the_call),
    RUN(replay__sends_a_request_that_no_buffer_holds),
    RUN(reply__with_callbacks_is_decoded_by_callbacks_of_the_client),
    RUN(reply__over_the_transmit_buffer_is_encoded_twice),
    RUN(reply__over_all_buffers_says_so),
    RUN(replay__sends_a_unary_reply_that_its_handler_offers_itself),
    RUN(replay__sends_replies_over_buffers_and_windows_whole),
    RUN(replay__sends_replies_over_the_first_window_whole),
    RUN(replay__sends_replies_of_every_size_whole),
    RUN(replay__resets_the_stream_when_a_message_changes),
    RUN(encoding__unary_reply_that_breaks_a_rule_is_internal),
    RUN(encoding__unary_reply_whose_callback_fails_is_internal),
    RUN(encoding__streamed_reply_that_breaks_a_rule_is_internal),
    RUN(encoding__callback_that_fails_in_any_pass_is_internal),
    RUN(encoding__request_that_breaks_a_rule_never_arrives),
    RUN(encoding__streamed_request_that_breaks_a_rule_ends_the_call),
    RUN(decoding__malformed_request_is_internal),
    RUN(decoding__request_over_the_sizes_of_a_struct_is_internal),
    RUN(decoding__malformed_message_of_a_stream_ends_it),
    RUN(decoding__unknown_fields_are_skipped),
    RUN(decoding__packed_numbers_reach_a_callback_one_by_one),
    RUN(decoding__client_callback_that_refuses_is_internal),
    RUN(decoding__client_without_callbacks_skips_their_fields),
    RUN(nanopb__works_with_every_split),
    TESTS_END
};

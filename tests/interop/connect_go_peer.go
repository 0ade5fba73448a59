// gRPC's interop tests as connect-go does them: the gRPC protocol over h2c, on
// Go's own net/http.
//
//	connect_go_peer server PORT
//	connect_go_peer client PORT CASE...    a line a case
//	SOAK=N in the environment: so many iterations of a soak
//
// The messages are those that grpc-go's interop programs bring.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"connectrpc.com/connect"
	pb "google.golang.org/grpc/interop/grpc_testing"
)

const (
	testService  = "/grpc.testing.TestService/"
	echoInitial  = "x-grpc-test-echo-initial"
	echoTrailing = "x-grpc-test-echo-trailing-bin"
	initialValue = "test_initial_metadata_value"
	words        = "test status message"
	specialWords = "\t\ntest with whitespace\r\nand Unicode BMP \u263A and non-BMP \U0001F608\t\n"
)

var (
	trailingValue = []byte{0xab, 0xab, 0xab}
	requests      = []int{27182, 8, 1828, 45904}
	responses     = []int{31415, 9, 2653, 58979}
)

func zeros(size int) *pb.Payload { return &pb.Payload{Body: make([]byte, size)} }

// ---- the server ----

func echo(asked, header, trailer http.Header) {
	for _, value := range asked.Values(echoInitial) {
		header.Add(echoInitial, value)
	}
	for _, value := range asked.Values(echoTrailing) {
		trailer.Add(echoTrailing, value)
	}
}

func failure(status *pb.EchoStatus) error {
	if status.GetCode() == 0 {
		return nil
	}
	return connect.NewError(connect.Code(status.Code), errors.New(status.Message))
}

func respond(in *pb.StreamingOutputCallRequest,
	send func(*pb.StreamingOutputCallResponse) error) error {
	if err := failure(in.ResponseStatus); err != nil {
		return err
	}
	for _, want := range in.ResponseParameters {
		time.Sleep(time.Duration(want.IntervalUs) * time.Microsecond)
		out := &pb.StreamingOutputCallResponse{Payload: zeros(int(want.Size))}
		if err := send(out); err != nil {
			return err
		}
	}
	return nil
}

func emptyCall(_ context.Context, _ *connect.Request[pb.Empty]) (*connect.Response[pb.Empty], error) {
	return connect.NewResponse(&pb.Empty{}), nil
}

func unaryCall(_ context.Context, in *connect.Request[pb.SimpleRequest]) (*connect.Response[pb.SimpleResponse], error) {
	if err := failure(in.Msg.ResponseStatus); err != nil {
		return nil, err
	}
	out := connect.NewResponse(&pb.SimpleResponse{Payload: zeros(int(in.Msg.ResponseSize))})
	if in.Msg.FillServerId {
		out.Msg.ServerId = fmt.Sprintf("connect-go-%d", os.Getpid())
	}
	echo(in.Header(), out.Header(), out.Trailer())
	return out, nil
}

func streamingOutputCall(_ context.Context, in *connect.Request[pb.StreamingOutputCallRequest],
	stream *connect.ServerStream[pb.StreamingOutputCallResponse]) error {
	echo(in.Header(), stream.ResponseHeader(), stream.ResponseTrailer())
	return respond(in.Msg, stream.Send)
}

func streamingInputCall(_ context.Context, stream *connect.ClientStream[pb.StreamingInputCallRequest]) (*connect.Response[pb.StreamingInputCallResponse], error) {
	size := 0
	for stream.Receive() {
		size += len(stream.Msg().GetPayload().GetBody())
	}
	out := &pb.StreamingInputCallResponse{AggregatedPayloadSize: int32(size)}
	return connect.NewResponse(out), stream.Err()
}

func fullDuplexCall(_ context.Context, stream *connect.BidiStream[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
	echo(stream.RequestHeader(), stream.ResponseHeader(), stream.ResponseTrailer())
	for {
		in, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = respond(in, stream.Send)
		}
		if err != nil {
			return err
		}
	}
}

func serve(port string) error {
	mux := http.NewServeMux()
	add := func(name string, handler http.Handler) { mux.Handle(testService+name, handler) }
	add("EmptyCall", connect.NewUnaryHandler(testService+"EmptyCall", emptyCall))
	add("UnaryCall", connect.NewUnaryHandler(testService+"UnaryCall", unaryCall))
	add("StreamingOutputCall", connect.NewServerStreamHandler(
		testService+"StreamingOutputCall", streamingOutputCall))
	add("StreamingInputCall", connect.NewClientStreamHandler(
		testService+"StreamingInputCall", streamingInputCall))
	add("FullDuplexCall", connect.NewBidiStreamHandler(
		testService+"FullDuplexCall", fullDuplexCall))
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	fmt.Println("listening on", listener.Addr())
	server := &http.Server{Handler: mux, Protocols: h2c()}
	return server.Serve(listener)
}

func h2c() *http.Protocols {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return protocols
}

// ---- the client ----

// One connection to the server; a new one has a connection of its own.
type peer struct {
	http *http.Client
	base string
}

func newPeer(port string) *peer {
	return &peer{&http.Client{Transport: &http.Transport{Protocols: h2c()}},
		"http://127.0.0.1:" + port}
}

func method[In, Out any](p *peer, path string) *connect.Client[In, Out] {
	return connect.NewClient[In, Out](p.http, p.base+path, connect.WithGRPC())
}

func (p *peer) unary() *connect.Client[pb.SimpleRequest, pb.SimpleResponse] {
	return method[pb.SimpleRequest, pb.SimpleResponse](p, testService+"UnaryCall")
}

func (p *peer) input() *connect.Client[pb.StreamingInputCallRequest, pb.StreamingInputCallResponse] {
	return method[pb.StreamingInputCallRequest, pb.StreamingInputCallResponse](
		p, testService+"StreamingInputCall")
}

func (p *peer) duplex() *connect.Client[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse] {
	return method[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse](
		p, testService+"FullDuplexCall")
}

func same[T comparable](what string, got, wanted T) error {
	if got == wanted {
		return nil
	}
	return fmt.Errorf("%s is %v, not %v", what, got, wanted)
}

func checkPayload(payload *pb.Payload, size int) error {
	if payload == nil {
		return errors.New("there is no payload")
	}
	if !bytes.Equal(payload.Body, make([]byte, size)) {
		return fmt.Errorf("the payload (%d bytes) is not %d zeros", len(payload.Body), size)
	}
	return nil
}

func checkFailure(err error, code connect.Code, message *string) error {
	var failed *connect.Error
	if !errors.As(err, &failed) {
		return fmt.Errorf("the call ended with %v instead of %v", err, code)
	}
	if failed.Code() != code {
		return fmt.Errorf("the status is %v, not %v", err, code)
	}
	if message != nil && failed.Message() != *message {
		return fmt.Errorf("the message is %q, not %q", failed.Message(), *message)
	}
	return nil
}

func emptyUnary(ctx context.Context, p *peer, path string) error {
	_, err := method[pb.Empty, pb.Empty](p, path).CallUnary(ctx, connect.NewRequest(&pb.Empty{}))
	return err
}

func large() *connect.Request[pb.SimpleRequest] {
	return connect.NewRequest(&pb.SimpleRequest{ResponseSize: 314159, Payload: zeros(271828)})
}

func largeUnary(ctx context.Context, p *peer) error {
	return exchangeOnce(ctx, p, large())
}

func exchangeOnce(ctx context.Context, p *peer, request *connect.Request[pb.SimpleRequest]) error {
	response, err := p.unary().CallUnary(ctx, request)
	if err != nil {
		return err
	}
	return checkPayload(response.Msg.Payload, int(request.Msg.ResponseSize))
}

func clientStreaming(ctx context.Context, p *peer) error {
	stream := p.input().CallClientStream(ctx)
	for _, size := range requests {
		if err := stream.Send(&pb.StreamingInputCallRequest{Payload: zeros(size)}); err != nil {
			return err
		}
	}
	response, err := stream.CloseAndReceive()
	if err != nil {
		return err
	}
	return same("aggregated_payload_size", response.Msg.AggregatedPayloadSize, 74922)
}

func serverStreaming(ctx context.Context, p *peer) error {
	in := &pb.StreamingOutputCallRequest{}
	for _, size := range responses {
		in.ResponseParameters = append(in.ResponseParameters,
			&pb.ResponseParameters{Size: int32(size)})
	}
	stream, err := method[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse](
		p, testService+"StreamingOutputCall").CallServerStream(ctx, connect.NewRequest(in))
	if err != nil {
		return err
	}
	got := 0
	for ; stream.Receive(); got++ {
		if got == len(responses) {
			return errors.New("there is one more response")
		}
		if err := checkPayload(stream.Msg().Payload, responses[got]); err != nil {
			return err
		}
	}
	if stream.Err() != nil {
		return stream.Err()
	}
	return same("the number of responses", got, len(responses))
}

func ask(response, size int) *pb.StreamingOutputCallRequest {
	in := &pb.StreamingOutputCallRequest{Payload: zeros(size)}
	if response >= 0 {
		in.ResponseParameters = []*pb.ResponseParameters{{Size: int32(response)}}
	}
	return in
}

type duplexStream = connect.BidiStreamForClient[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]

func exchange(stream *duplexStream, response, size int) error {
	if err := stream.Send(ask(response, size)); err != nil {
		return err
	}
	out, err := stream.Receive()
	if err != nil {
		return err
	}
	return checkPayload(out.Payload, response)
}

func checkEnd(stream *duplexStream) error {
	if _, err := stream.Receive(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("the stream ended with %v", err)
	}
	return nil
}

func pingPong(ctx context.Context, p *peer) error {
	stream := p.duplex().CallBidiStream(ctx)
	for i := range responses {
		if err := exchange(stream, responses[i], requests[i]); err != nil {
			return err
		}
	}
	return errors.Join(stream.CloseRequest(), checkEnd(stream))
}

func emptyStream(ctx context.Context, p *peer) error {
	stream := p.duplex().CallBidiStream(ctx)
	return errors.Join(stream.CloseRequest(), checkEnd(stream))
}

func timeoutOnSleepingServer(ctx context.Context, p *peer) error {
	ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	stream := p.duplex().CallBidiStream(ctx)
	err := stream.Send(ask(-1, 27182))
	if err == nil || errors.Is(err, io.EOF) {
		_, err = stream.Receive()
	}
	return checkFailure(err, connect.CodeDeadlineExceeded, nil)
}

// Sending nil sends the headers alone.
func cancelAfterBegin(ctx context.Context, p *peer) error {
	cancelled, cancel := context.WithCancel(ctx)
	stream := p.input().CallClientStream(cancelled)
	if err := stream.Send(nil); err != nil {
		cancel()
		return err
	}
	cancel()
	_, err := stream.CloseAndReceive()
	return errors.Join(checkFailure(err, connect.CodeCanceled, nil), largeUnary(ctx, p))
}

func cancelAfterFirstResponse(ctx context.Context, p *peer) error {
	cancelled, cancel := context.WithCancel(ctx)
	defer cancel()
	stream := p.duplex().CallBidiStream(cancelled)
	if err := exchange(stream, 31415, 27182); err != nil {
		return err
	}
	cancel()
	_, err := stream.Receive()
	return errors.Join(checkFailure(err, connect.CodeCanceled, nil), largeUnary(ctx, p))
}

func unaryStatus(ctx context.Context, p *peer, message string) error {
	_, err := p.unary().CallUnary(ctx, connect.NewRequest(&pb.SimpleRequest{
		ResponseStatus: &pb.EchoStatus{Code: 2, Message: message}}))
	return checkFailure(err, connect.CodeUnknown, &message)
}

func statusCodeAndMessage(ctx context.Context, p *peer) error {
	message := words
	if err := unaryStatus(ctx, p, message); err != nil {
		return err
	}
	stream := p.duplex().CallBidiStream(ctx)
	err := errors.Join(stream.Send(&pb.StreamingOutputCallRequest{
		ResponseStatus: &pb.EchoStatus{Code: 2, Message: message}}), stream.CloseRequest())
	if err != nil {
		return err
	}
	_, err = stream.Receive()
	return checkFailure(err, connect.CodeUnknown, &message)
}

func checkEcho(header, trailer http.Header) error {
	if err := same("the initial metadata", header.Get(echoInitial), initialValue); err != nil {
		return err
	}
	value, err := connect.DecodeBinaryHeader(trailer.Get(echoTrailing))
	if err != nil {
		return err
	}
	return same("the trailing metadata", string(value), string(trailingValue))
}

func addMetadata(header http.Header) {
	header.Set(echoInitial, initialValue)
	header.Set(echoTrailing, connect.EncodeBinaryHeader(trailingValue))
}

func customMetadata(ctx context.Context, p *peer) error {
	request := large()
	addMetadata(request.Header())
	response, err := p.unary().CallUnary(ctx, request)
	if err != nil {
		return err
	}
	if err := checkPayload(response.Msg.Payload, 314159); err != nil {
		return err
	}
	if err := checkEcho(response.Header(), response.Trailer()); err != nil {
		return err
	}
	stream := p.duplex().CallBidiStream(ctx)
	addMetadata(stream.RequestHeader())
	if err := exchange(stream, 314159, 271828); err != nil {
		return err
	}
	if err := errors.Join(stream.CloseRequest(), checkEnd(stream)); err != nil {
		return err
	}
	return checkEcho(stream.ResponseHeader(), stream.ResponseTrailer())
}

func pickFirstUnary(ctx context.Context, p *peer) error {
	first := ""
	for i := 0; i < 100; i++ {
		response, err := p.unary().CallUnary(ctx, connect.NewRequest(
			&pb.SimpleRequest{ResponseSize: 1, FillServerId: true}))
		if err != nil {
			return err
		}
		id := response.Msg.ServerId
		if id == "" || first != "" && id != first {
			return fmt.Errorf("the server_id is %q after %q", id, first)
		}
		first = id
	}
	return nil
}

func soak(ctx context.Context, port string, anew bool) error {
	iterations, err := strconv.Atoi(os.Getenv("SOAK"))
	if err != nil {
		iterations = 10
	}
	p := newPeer(port)
	for i := 0; i < iterations; i++ {
		began := time.Now()
		if anew {
			p.http.CloseIdleConnections()
			p = newPeer(port)
		}
		if err := largeUnary(ctx, p); err != nil {
			return fmt.Errorf("iteration %d: %w", i, err)
		}
		if time.Since(began) > 2*time.Second {
			return fmt.Errorf("iteration %d took over 2 seconds", i)
		}
	}
	return nil
}

func runCase(name, port string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	p := newPeer(port)
	defer p.http.CloseIdleConnections()
	switch name {
	case "empty_unary":
		return emptyUnary(ctx, p, testService+"EmptyCall")
	case "large_unary":
		return largeUnary(ctx, p)
	case "very_large_request":
		return exchangeOnce(ctx, p, connect.NewRequest(
			&pb.SimpleRequest{ResponseSize: 10, Payload: zeros(10 << 20)}))
	case "client_streaming":
		return clientStreaming(ctx, p)
	case "server_streaming":
		return serverStreaming(ctx, p)
	case "ping_pong":
		return pingPong(ctx, p)
	case "empty_stream":
		return emptyStream(ctx, p)
	case "timeout_on_sleeping_server":
		return timeoutOnSleepingServer(ctx, p)
	case "cancel_after_begin":
		return cancelAfterBegin(ctx, p)
	case "cancel_after_first_response":
		return cancelAfterFirstResponse(ctx, p)
	case "status_code_and_message":
		return statusCodeAndMessage(ctx, p)
	case "special_status_message":
		return unaryStatus(ctx, p, specialWords)
	case "custom_metadata":
		return customMetadata(ctx, p)
	case "unimplemented_method":
		return checkFailure(emptyUnary(ctx, p, testService+"UnimplementedCall"),
			connect.CodeUnimplemented, nil)
	case "unimplemented_service":
		return checkFailure(emptyUnary(ctx, p,
			"/grpc.testing.UnimplementedService/UnimplementedCall"),
			connect.CodeUnimplemented, nil)
	case "pick_first_unary":
		return pickFirstUnary(ctx, p)
	case "rpc_soak":
		return soak(ctx, port, false)
	case "channel_soak":
		return soak(ctx, port, true)
	}
	return errors.New("there is no such case here")
}

func main() {
	role, port := os.Args[1], os.Args[2]
	if role == "server" {
		fmt.Fprintln(os.Stderr, serve(port))
		os.Exit(1)
	}
	code := 0
	for _, name := range os.Args[3:] {
		if err := runCase(name, port); err != nil {
			code = 1
			fmt.Printf("FAILED %s: %v\n", name, err)
		} else {
			fmt.Println("passed", name)
		}
	}
	os.Exit(code)
}

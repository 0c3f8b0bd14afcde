//go:build linux

package upstreams

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/oauth"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
)

// chat is a service with a stream in both directions: what it gets it sends back, after who calls.
const chat = "/orders.v1.Orders/Chat"

// chatEnded tells of calls of chat that are over.
type chatEnded chan error

func (ended chatEnded) serve(_ any, stream grpc.ServerStream) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	who := strings.Join(md.Get("x-passport-client"), ",") + " " + strings.Join(md.Get("authorization"), ",")
	err := stream.SendMsg(wrapperspb.String(who))
	for err == nil {
		var message wrapperspb.StringValue
		if err = stream.RecvMsg(&message); err == nil {
			err = stream.SendMsg(&message)
		}
	}
	ended <- err
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// startGRPC runs a gRPC server as Go programs have one, with Google's health service beside chat.
func startGRPC(t *testing.T) (addr string, ended chatEnded) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended = make(chatEnded, 8)
	server := grpc.NewServer()
	checks := health.NewServer()
	checks.SetServingStatus("orders", healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(server, checks)
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "orders.v1.Orders", HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{
			{StreamName: "Chat", Handler: ended.serve, ServerStreams: true, ClientStreams: true},
		},
	}, ended)
	reflection.Register(server)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(ln)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return ln.Addr().String(), ended
}

// startGRPCGateway runs the gateway of the recipe before it, with TLS.
func startGRPCGateway(t *testing.T, upstream string) (g *gateway.Gateway, roots string) {
	t.Helper()
	site := strings.Replace(recipe(t, "grpc.md"), "http://127.0.0.1:{$PORT} {", "https://localhost:{$PORT} {\n\ttls internal", 1)
	global := strings.Replace(issuer, "{\n", "{\n\tskip_install_trust\n\tauto_https disable_redirects\n", 1)
	g = gateway.Start(t, global+"\n"+site, "UPSTREAM="+upstream, "CLIENT_SECRET="+clientSecret)
	g.URL = "https://localhost:" + g.Port
	roots = filepath.Join(g.Dir, "data", "caddy", "pki", "authorities", "local", "root.crt")
	eventually(t, "Caddy has its certificates", func() bool {
		pem, err := os.ReadFile(roots)
		pool := x509.NewCertPool()
		if err != nil || !pool.AppendCertsFromPEM(pem) {
			return false
		}
		g.HTTP.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool}
		conn, err := tls.Dial("tcp", "localhost:"+g.Port, &tls.Config{RootCAs: pool})
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return g, roots
}

// connect connects a client that sends the token with each call; "" sends none.
func connect(t *testing.T, g *gateway.Gateway, roots, bearer string) *grpc.ClientConn {
	t.Helper()
	secured, err := credentials.NewClientTLSFromFile(roots, "")
	if err != nil {
		t.Fatal(err)
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(secured)}
	if bearer != "" {
		source := oauth2.StaticTokenSource(&oauth2.Token{AccessToken: bearer})
		options = append(options, grpc.WithPerRPCCredentials(oauth.TokenSource{TokenSource: source}))
	}
	conn, err := grpc.NewClient("localhost:"+g.Port, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestGRPC(t *testing.T) {
	upstream, ended := startGRPC(t)
	g, roots := startGRPCGateway(t, upstream)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	check := func(conn *grpc.ClientConn) error {
		resp, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: "orders"})
		if err == nil && resp.Status != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("the service says %v", resp)
		}
		return err
	}
	wantCode := func(what string, err error, want codes.Code) {
		t.Helper()
		if got := status.Code(err); got != want {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}

	anonymous := connect(t, g, roots, "")
	wantCode("without a token", check(anonymous), codes.Unauthenticated)
	unsaid, err := open(ctx, anonymous)
	if err == nil {
		err = unsaid.RecvMsg(new(wrapperspb.StringValue))
	}
	wantCode("a stream without a token", err, codes.Unauthenticated)
	bearer, other := token(g), token(g)
	less := g.Token(clientID, clientSecret, "write")
	wantCode("without the scope", check(connect(t, g, roots, less)), codes.PermissionDenied)
	wantCode("with a made-up token", check(connect(t, g, roots, bearer[:len(bearer)-6]+"AAAAAA")), codes.Unauthenticated)

	conn := connect(t, g, roots, bearer)
	if err := check(conn); err != nil {
		t.Fatal(err)
	}
	_, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: "unknown"})
	wantCode("what the service itself says", err, codes.NotFound)
	stream := talk(ctx, t, conn)
	stays := talk(ctx, t, connect(t, g, roots, other))
	watching, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{Service: "orders"})
	if err == nil {
		_, err = watching.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}

	revoke(t, g, bearer)
	for what, err := range map[string]error{
		"both directions": stream.RecvMsg(new(wrapperspb.StringValue)),
		"from the server": watching.RecvMsg(new(healthpb.HealthCheckResponse)),
	} {
		if err == nil || errors.Is(err, io.EOF) || status.Code(err) == codes.DeadlineExceeded {
			t.Errorf("%s: the stream is not cut: %v", what, err)
		}
	}
	select {
	case err := <-ended:
		wantCode("at the upstream", err, codes.Canceled)
	case <-time.After(patience):
		t.Error("the upstream's stream outlives the token")
	}
	says(t, stays, "still here") // another's goes on
	wantCode("once it is revoked", check(conn), codes.Unauthenticated)
	if err := stays.CloseSend(); err != nil {
		t.Error(err)
	}
	if err := stays.RecvMsg(new(wrapperspb.StringValue)); !errors.Is(err, io.EOF) {
		t.Errorf("the end of a stream that was not cut: %v", err)
	}
}

// open calls chat.
func open(ctx context.Context, conn *grpc.ClientConn) (grpc.ClientStream, error) {
	return conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, chat)
}

// talk opens a stream in both directions.
func talk(ctx context.Context, t *testing.T, conn *grpc.ClientConn) grpc.ClientStream {
	t.Helper()
	stream, err := open(ctx, conn)
	var who wrapperspb.StringValue
	if err == nil {
		err = stream.RecvMsg(&who)
	}
	if err != nil || who.Value != clientID+" " {
		t.Fatalf("the upstream says %q, %v", who.Value, err)
	}
	for _, message := range []string{"", "hello", strings.Repeat("a", 1<<20)} {
		says(t, stream, message)
	}
	return stream
}

// says sends a message and waits for its echo.
func says(t *testing.T, stream grpc.ClientStream, message string) {
	t.Helper()
	var got wrapperspb.StringValue
	err := stream.SendMsg(wrapperspb.String(message))
	if err == nil {
		err = stream.RecvMsg(&got)
	}
	if err != nil || got.Value != message {
		t.Fatalf("%d bytes: got %d, %v", len(message), len(got.Value), err)
	}
}

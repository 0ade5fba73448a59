// grpc-java's own interop service on its OkHttp server, for which the interop
// distribution has no program. Run as one source file:
//
//     java -cp 'DISTRIBUTION/lib/*' OkHttpServer.java PORT
import io.grpc.InsecureServerCredentials;
import io.grpc.Server;
import io.grpc.ServerInterceptors;
import io.grpc.okhttp.OkHttpServerBuilder;
import io.grpc.testing.integration.TestServiceImpl;
import java.util.concurrent.Executors;

public final class OkHttpServer {
  public static void main(String[] args) throws Exception {
    var service = new TestServiceImpl(Executors.newSingleThreadScheduledExecutor());
    Server server =
        OkHttpServerBuilder.forPort(Integer.parseInt(args[0]), InsecureServerCredentials.create())
            .addService(ServerInterceptors.intercept(service, TestServiceImpl.interceptors()))
            .maxInboundMessageSize(16 << 20) // as TestServiceServer has it
            .build()
            .start();
    System.out.println("listening on 127.0.0.1:" + server.getPort());
    server.awaitTermination();
  }
}

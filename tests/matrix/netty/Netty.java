import io.netty.bootstrap.Bootstrap;
import io.netty.buffer.ByteBuf;
import io.netty.channel.ChannelFuture;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelOption;
import io.netty.channel.EventLoopGroup;
import io.netty.channel.SimpleChannelInboundHandler;
import io.netty.channel.epoll.Epoll;
import io.netty.channel.epoll.EpollDatagramChannel;
import io.netty.channel.epoll.EpollEventLoopGroup;
import io.netty.channel.epoll.EpollSocketChannel;
import io.netty.resolver.AddressResolverGroup;
import io.netty.resolver.DefaultAddressResolverGroup;
import io.netty.resolver.dns.DnsAddressResolverGroup;
import io.netty.resolver.dns.DnsServerAddressStreamProviders;
import java.nio.charset.StandardCharsets;

/** Netty with its native transport, epoll(7) by JNI. */
public final class Netty {
    private Netty() {}

    /** Arguments: who looks names up ("java" or "netty"), host, port, seconds. */
    public static void main(String[] args) throws InterruptedException {
        Epoll.ensureAvailability();
        EventLoopGroup group = new EpollEventLoopGroup(1);
        try {
            Bootstrap client = new Bootstrap()
                    .group(group)
                    .channel(EpollSocketChannel.class)
                    .resolver(resolver(args[0]))
                    .option(ChannelOption.CONNECT_TIMEOUT_MILLIS, Integer.parseInt(args[3]) * 1000)
                    .handler(new Printer());
            ChannelFuture connected = client.connect(args[1], Integer.parseInt(args[2])).await();
            if (!connected.isSuccess()) {
                for (Throwable cause = connected.cause(); cause != null; cause = cause.getCause()) {
                    System.out.println(cause);
                }
                return;
            }
            connected.channel().closeFuture().await();
        } finally {
            group.shutdownGracefully(0, 1, java.util.concurrent.TimeUnit.SECONDS).await();
        }
    }

    private static AddressResolverGroup<?> resolver(String name) {
        return name.equals("netty")
                ? new DnsAddressResolverGroup(
                        EpollDatagramChannel.class, DnsServerAddressStreamProviders.platformDefault())
                : DefaultAddressResolverGroup.INSTANCE;
    }

    private static final class Printer extends SimpleChannelInboundHandler<ByteBuf> {
        @Override
        public void channelActive(ChannelHandlerContext context) {
            System.out.println("connected to " + context.channel().remoteAddress());
        }

        @Override
        protected void channelRead0(ChannelHandlerContext context, ByteBuf data) {
            System.out.print(data.toString(StandardCharsets.UTF_8));
        }

        @Override
        public void exceptionCaught(ChannelHandlerContext context, Throwable error) {
            System.out.println(error);
            context.close();
        }
    }
}

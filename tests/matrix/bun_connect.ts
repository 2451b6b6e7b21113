// Bun's own sockets. usage: bun run bun_connect.ts HOST PORT SECONDS

const [hostname, port, seconds] = process.argv.slice(2);
const timer = setTimeout(() => {
  console.log("not within the program's own timeout");
  process.exit(3);
}, Number(seconds) * 1000);
const closed = Promise.withResolvers<void>();
try {
  await Bun.connect({
    hostname,
    port: Number(port),
    socket: {
      open: (socket) => console.log(`connected to ${socket.remoteAddress}`),
      data: (_, data) => console.log(data.toString()),
      close: () => closed.resolve(),
    },
  });
  await closed.promise;
  console.log("closed");
} catch (error) {
  console.log(error.name, error.message, error.code);
}
clearTimeout(timer);

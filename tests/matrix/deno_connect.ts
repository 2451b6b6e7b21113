// Deno's own sockets. usage: deno run --allow-net deno_connect.ts HOST PORT SECONDS

const [hostname, port, seconds] = Deno.args;
const timer = setTimeout(() => {
  console.log("not within the program's own timeout");
  Deno.exit(3);
}, Number(seconds) * 1000);
try {
  const connection = await Deno.connect({ hostname, port: Number(port) });
  const { hostname: address, port: at } = connection.remoteAddr as Deno.NetAddr;
  console.log(`connected to ${address} ${at}`);
  console.log(await new Response(connection.readable).text());
} catch (error) {
  console.log(error.name, error.message, error.code);
}
clearTimeout(timer);

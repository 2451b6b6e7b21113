// Node's net. usage: node net.mjs HOST PORT SECONDS

import net from "node:net";

const [host, port, seconds] = process.argv.slice(2);
const socket = net.connect({ host, port: Number(port) });
const timer = setTimeout(() => socket.destroy(new Error("the program's own timeout")), seconds * 1000);
socket.on("connect", () => console.log(`connected to ${socket.remoteAddress} ${socket.remotePort}`));
socket.on("data", (data) => console.log(data.toString()));
socket.on("error", (error) => console.log(error.name, error.message, error.errno));
socket.on("close", (failed) => {
  clearTimeout(timer);
  console.log(failed ? "closed by an error" : "closed");
});

// Node's ways to connect: net, dns, fetch and http with an agent. Prints the result of each.
//
// usage: node clients.mjs POD

import dns from "node:dns";
import http from "node:http";
import net from "node:net";

const pod = process.argv[2];

const say = (what, result) => console.log(`${what}: ${result}`);

function connect(host, port, timeout = 3000) {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port });
    let received = "";
    const done = (result) => {
      socket.destroy();
      resolve(result);
    };
    socket.setTimeout(timeout, () => done("timeout"));
    socket.on("connect", () => {
      received += `connected to ${socket.remoteAddress} ${socket.remotePort}, `;
      if (port === 7003) socket.end("four");
    });
    socket.on("data", (data) => (received += data.toString().trim()));
    socket.on("end", () => done(received));
    socket.on("error", (error) => done(error.code));
  });
}

async function fetched(url, options) {
  try {
    const response = await fetch(url, options);
    return `${response.status} ${(await response.text()).trim()}`;
  } catch (error) {
    return error.cause?.code ?? error.name;
  }
}

function lookedUp(name, options) {
  return new Promise((resolve) =>
    dns.lookup(name, options, (error, found) => resolve(error ? error.code : JSON.stringify(found))),
  );
}

function overAgent(url, agent) {
  return new Promise((resolve) => {
    http
      .get(url, { agent }, (response) => {
        let body = "";
        response.on("data", (part) => (body += part));
        response.on("end", () => resolve(body));
      })
      .on("error", (error) => resolve(error.code));
  });
}

say("greeting", await connect("echo", 7005));
say("half-close", await connect("10.96.10.3", 7003));
say("refused", await connect(pod, 4444));
say("unroutable", await connect("unroutable.external.test", 7005));
say("silent", await connect("silent.external.test", 7005, 500));
say("unknown", await connect("missing.external.test", 80));
say("fetch", await fetched("http://web/"));
say("fetch elsewhere", await fetched("http://web.other.svc.cluster.local/"));
say("fetch refused", await fetched(`http://${pod}:4444/`));
say("fetch silent", await fetched("http://198.18.0.1/", { signal: AbortSignal.timeout(500) }));
say("lookup", await lookedUp("web.default", {}));
say("lookup all", await lookedUp("db", { all: true, family: 4 }));
say("lookup unknown", await lookedUp("missing", {}));
say("lookup failed", await lookedUp("anything.broken.test", {}));

const agent = new http.Agent({ keepAlive: true, maxSockets: 20 });
const bodies = await Promise.all(Array.from({ length: 100 }, () => overAgent("http://web/", agent)));
say("a hundred by an agent", bodies.filter((body) => body === "hello from web\n").length);
agent.destroy();
const sockets = await Promise.all(Array.from({ length: 200 }, () => connect("10.96.10.3", 7005)));
say("two hundred at once", sockets.filter((result) => result.endsWith("welcome")).length);

// an aborted fetch keeps its connect for ten seconds
process.exit(0);

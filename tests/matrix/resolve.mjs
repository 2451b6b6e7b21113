// Node's dns.resolve, which is c-ares. usage: node resolve.mjs NAME SECONDS [SERVER PORT]

import dns from "node:dns/promises";

const [name, seconds, server, port] = process.argv.slice(2);
const resolver = new dns.Resolver({ timeout: seconds * 1000, tries: 1 });
if (server) {
  const { address } = await dns.lookup(server);
  resolver.setServers([`${address}:${port}`]);
}
try {
  console.log((await resolver.resolve4(name)).sort());
} catch (error) {
  console.log(error.name, error.message);
}

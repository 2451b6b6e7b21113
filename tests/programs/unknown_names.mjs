// Asks for names that exist nowhere, as clients do who only look whether there is more: gRPC for a service's configuration and
// its balancers, drivers of databases for SRV and TXT, everybody for the search list. Prints the code of each answer, and
// whether it took long.
//
// usage: unknown_names.mjs NAME...

import { lookup, resolve4, resolveSrv, resolveTxt } from "node:dns/promises";

const PATIENCE = 2500;

async function ask(kind, question, name) {
    const began = performance.now();
    const said = await question(name).then(JSON.stringify, (error) => error.code);
    const took = performance.now() - began;
    console.log(kind, name, said, took < PATIENCE ? "soon" : `after ${(took / 1000).toFixed(1)} s`);
}

for (const name of process.argv.slice(2)) {
    await ask("lookup", lookup, name);
    await ask("A", resolve4, name);
    await ask("TXT", resolveTxt, `_grpc_config.${name}`);
    await ask("SRV", resolveSrv, `_grpclb._tcp.${name}`);
}

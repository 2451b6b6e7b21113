// Deno's fetch. usage: deno run --allow-net deno_fetch.ts HOST PORT SECONDS

const [host, port, seconds] = Deno.args;
try {
  const response = await fetch(`http://${host}:${port}/`, { signal: AbortSignal.timeout(Number(seconds) * 1000) });
  console.log(response.status, await response.text());
} catch (error) {
  console.log(error.name, error.message, error.cause?.message);
}

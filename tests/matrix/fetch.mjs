// Node's fetch. usage: node fetch.mjs HOST PORT SECONDS

const [host, port, seconds] = process.argv.slice(2);
try {
  const response = await fetch(`http://${host}:${port}/`, { signal: AbortSignal.timeout(seconds * 1000) });
  console.log(response.status, await response.text());
} catch (error) {
  console.log(error.name, error.message, error.cause?.code, error.cause?.message);
}

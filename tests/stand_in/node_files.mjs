// Node's file functions on mounted files and in an emptyDir: callbacks' errors, promises, streams, watchers.
import fs from 'node:fs';
import fsp from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createHash } from 'node:crypto';

const plain = (names) => [...names].map(String).filter((name) => !name.includes('..2')).sort();
async function show(name, call) {
  try {
    const result = await call();
    console.log(name, typeof result === 'bigint' ? String(result) : JSON.stringify(result));
  } catch (error) {
    console.log(name, error.code, error.syscall, error.path?.replace(/[A-Za-z0-9]{6}$/, ''), error.dest);
  }
}
const mode = (status) => [(status.mode).toString(8), status.isDirectory() ? 0 : status.size, status.isSymbolicLink()];

for (const mount of ['/etc/config', '/etc/secret', '/srv/data', '/etc/nginx/conf.d']) {
  await show('readdirSync', () => plain(fs.readdirSync(mount)));
  await show('readdir recursive', async () => plain(await fsp.readdir(mount, { recursive: true })));
  await show('dirents', () => plain(fs.readdirSync(mount, { withFileTypes: true }).map((e) =>
      `${e.name} ${e.isFile()} ${e.isSymbolicLink()}`)));
  await show('opendir', async () => { const names = [];
      for await (const entry of await fsp.opendir(mount)) names.push(entry.name); return plain(names); });
  await show('realpath', () => fs.realpathSync(mount));
  await show('realpath.native', () => fs.realpathSync.native(mount));
  await show('stat', async () => mode(await fsp.stat(mount)));
  await show('statfs', async () => (await fsp.statfs(mount)).bsize > 0);
  await show('access W', () => fs.accessSync(mount, fs.constants.W_OK));
  await show('cp', async () => { await fsp.cp(mount, 'tree', { recursive: true, verbatimSymlinks: true });
      return plain(fs.readdirSync('tree')); });
  await fsp.rm('tree', { recursive: true, force: true });
  process.chdir(mount);
  await show('cwd', () => [process.cwd(), path.resolve('x')]);
  await show('relative', () => plain(fs.readdirSync('.')));
  process.chdir(process.env.WORK);
}
for (const file of ['/etc/config/greeting', '/srv/data/large.txt', '/etc/nginx/nginx.conf', '/srv/data/none',
    '/etc/config/greeting/x', '/srv/data/broken', '/srv/data/fifo-less/']) {
  await show('readFileSync', () => fs.readFileSync(file).length);
  await show('readFile', async () => (await fsp.readFile(file, 'utf8')).slice(0, 20));
  await show('stream', async () => { const hash = createHash('sha256'); await pipeline(fs.createReadStream(file),
      hash); return hash.digest('hex'); });
  await show('stat', async () => mode(await fsp.stat(file)));
  await show('lstat', async () => mode(await fsp.lstat(file)));
  await show('bigint', async () => (await fsp.stat(file, { bigint: true })).size);
  await show('readlink', () => fs.readlinkSync(file).replace(/\.\.2[^/]*/, ''));
  await show('exists', () => fs.existsSync(file));
  await show('open r+', () => fs.openSync(file, 'r+'));
  await show('open w', () => fs.openSync(file, 'w'));
  await show('open wx', () => fs.openSync(file, 'wx'));
  await show('appendFile', () => fsp.appendFile(file, 'x'));
  await show('writeFile', () => fsp.writeFile(file, 'x'));
  await show('unlink', () => fsp.unlink(file));
  await show('rm', () => fsp.rm(file));
  await show('rename', () => fsp.rename(file, '/scratch/renamed'));
  await show('link', () => fsp.link(file, '/scratch/linked'));
  await show('symlink', () => fsp.symlink('x', file));
  await show('chmod', () => fsp.chmod(file, 0o600));
  await show('utimes', () => fsp.utimes(file, 1, 1));
  await show('lutimes', () => fsp.lutimes(file, 1, 1));
  await show('truncate', () => fsp.truncate(file, 0));
  await show('mkdir', () => fsp.mkdir(file));
  await show('mkdir recursive', () => fsp.mkdir(file, { recursive: true }));
  await show('rmdir', () => fsp.rmdir(file));
  if (!file.startsWith('/etc/nginx')) await show('mkdtemp', () => fsp.mkdtemp(file));
  await show('readdir', () => fs.readdirSync(file));
  await show('copyFile', async () => { await fsp.copyFile(file, 'copied'); return fs.readFileSync('copied').length; });
  await show('copyFile to', () => fsp.copyFile('copied', file));
  await show('read at', async () => { const h = await fsp.open(file); const { bytesRead,
      buffer } = await h.read(Buffer.alloc(5), 0, 5, 2); await h.close(); return [bytesRead, buffer.toString()]; });
  await show('lines', async () => { let count = 0;
      for await (const _ of (await fsp.open(file)).readLines()) count += 1; return count; });
}
// an emptyDir
await show('mkdir', async () => (await fsp.mkdir('a/b/c', { recursive: true })));
await show('write', async () => { await fsp.writeFile('a/f', 'text'); await fsp.symlink('../f', 'a/b/l');
    return fs.realpathSync('a/b/l'); });
await show('native', () => fs.realpathSync.native('a/b/l'));
await show('rename', async () => { await fsp.rename('a/b', 'a/d'); return plain(fs.readdirSync('a', {
    recursive: true })); });
await show('mkdtemp', async () => (await fsp.mkdtemp(path.join(process.env.WORK, 'made-'))).slice(0, -6));
await show('truncate', async () => { await fsp.truncate('a/f', 2); return fs.readFileSync('a/f', 'utf8'); });
await show('utimes', async () => { await fsp.utimes('a/f', 1, 2); return (await fsp.stat('a/f')).mtimeMs; });
await show('copy', async () => { await fsp.cp('a', 'e', { recursive: true }); return plain(fs.readdirSync('e', {
    recursive: true })); });
await show('write stream', async () => { await pipeline(fs.createReadStream('/srv/data/large.txt'),
    fs.createWriteStream('large')); return fs.statSync('large').size; });
await show('watch', async () => {
  const watcher = fsp.watch('.', { signal: AbortSignal.timeout(10000) });
  const next = watcher[Symbol.asyncIterator]().next();
  await fsp.writeFile('watched', 'x');
  return (await next).value;
});
const seen = new Set();
const watcher = fs.watch('/etc/config', (kind, name) => { if (name === '..data') seen.add(kind); });
const file = fs.watchFile('/etc/config/greeting', { interval: 50 }, () => {});
const arrived = new Promise((resolve) => file.on('change', () => resolve(fs.readFileSync('/etc/config/greeting',
    'utf8'))));
console.log('CHANGE');
console.log(await arrived);
while (!seen.size) await new Promise((resolve) => setTimeout(resolve, 20));
console.log([...seen].sort());
watcher.close();
fs.unwatchFile('/etc/config/greeting');
await fsp.rm('a', { recursive: true });
console.log(plain(fs.readdirSync('.')).filter((name) => !name.startsWith('made-')));

const fs = require("fs");

const show = (what, call) => {
  try {
    console.log(what, call());
  } catch (error) {
    console.log(what, error.code, error.path);
  }
};
for (const name of ["", "/key", "/..data", "/none", "/sub/", "/dangling"]) {
  const path = "/srv/config" + name;
  show("stat", () => fs.statSync(path).mode.toString(8));
  show("lstat", () => fs.lstatSync(path).mode.toString(8));
  show("realpath", () => fs.realpathSync(path));
  show("native", () => fs.realpathSync.native(path));
  show("readlink", () => fs.readlinkSync(path));
  show("read", () => fs.readFileSync(path, "utf8"));
  show("write", () => fs.writeFileSync(path, "x"));
  show("readdir", () => fs.readdirSync(path).sort().join());
  show("access", () => fs.accessSync(path, fs.constants.W_OK));
  show("mkdir", () => fs.mkdirSync(path));
  show("recursive", () => fs.mkdirSync(path, { recursive: true }));
  show("unlink", () => fs.unlinkSync(path));
  show("rm", () => fs.rmSync(path, { recursive: true }));
  show("rename", () => fs.renameSync(path, path + "2"));
  show("utimes", () => fs.utimesSync(path, 1, 1));
}
fs.mkdirSync("/srv/cache/a/b", { recursive: true });
fs.writeFileSync("/srv/cache/a/b/c", "text");
fs.cpSync("/srv/config/sub", "/srv/cache/sub", { recursive: true });
show("all", () => fs.readdirSync("/srv/cache", { recursive: true }).sort().join());
fs.rmSync("/srv/cache/a", { recursive: true });
fs.rmSync("/srv/cache/sub", { recursive: true });
process.chdir("/srv/config");
show("cwd", () => process.cwd());
show("relative", () => fs.readFileSync("key", "utf8"));
fs.promises.readFile("/srv/config/key", "utf8").then((text) => console.log("promise", text));

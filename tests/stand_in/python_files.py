"""Python's file functions on mounted files and in an emptyDir."""

import fcntl
import fileinput
import filecmp
import glob
import json
import linecache
import mmap
import os
import pathlib
import re
import shutil
import sqlite3
import stat
import tempfile
import threading
import zipfile

MOUNTS = ["/etc/config", "/etc/secret", "/srv/data", "/etc/nginx/conf.d"]


def show(name, call):
    try:
        result = call()
    except (OSError, shutil.Error) as error:
        filename = re.sub("tmp[a-z0-9_]{8}$", "tmpN", str(getattr(error, "filename", None)))
        result = f"{type(error).__name__} {getattr(error, 'errno', None)} {filename}"
    print(name, result)


def plain(names):
    return sorted(name for name in names if not name.startswith("..2"))


for mount in MOUNTS:
    path = pathlib.Path(mount)
    show("listdir", lambda: plain(os.listdir(mount)))
    show("scandir", lambda: sorted((e.name, e.is_file(), e.is_dir(), e.is_symlink(),
        oct(e.stat().st_mode)) for e in os.scandir(mount) if not e.name.startswith("..2")))
    show("walk", lambda: sorted((root, plain(files)) for root, _, files in os.walk(mount,
        followlinks=True) if "/..2" not in root))
    show("fwalk", lambda: sorted((root, plain(files)) for root, _, files, _ in os.fwalk(mount) if "/..2" not in root))
    show("glob", lambda: sorted(glob.glob(mount + "/*")) + sorted(glob.glob("**/*", root_dir=mount, recursive=True)))
    show("iterdir", lambda: plain(p.name for p in path.iterdir()))
    show("rglob", lambda: sorted(str(p) for p in path.rglob("*.conf")))
    show("resolve", lambda: path.resolve(strict=True))
    show("access", lambda: [os.access(mount, mode) for mode in (os.F_OK, os.R_OK, os.W_OK, os.X_OK)])
    show("ismount", lambda: os.path.ismount(mount + "/.."))
    show("copytree", lambda: plain(os.listdir(shutil.copytree(mount, "tree", symlinks=True))))
    show("dircmp", lambda: (lambda c: (plain(c.left_only), plain(c.right_only),
        plain(c.diff_files)))(filecmp.dircmp(mount, "tree")))
    shutil.rmtree("tree")
    os.chdir(mount)
    show("getcwd", os.getcwd)
    show("relative", lambda: plain(os.listdir(".")))
    show("abspath", lambda: os.path.abspath("x/../y"))
    show("realpath", lambda: os.path.realpath("."))
    os.chdir(os.environ["WORK"])
    folder = os.open(mount, os.O_RDONLY | os.O_DIRECTORY)
    show("dir_fd", lambda: plain(os.listdir(folder)))
    show("fchdir", lambda: (os.fchdir(folder), os.getcwd(), os.chdir(os.environ["WORK"]))[1])
    os.close(folder)

FILE = "/etc/config/greeting"
LARGE = "/srv/data/large.txt"
for file in [FILE, LARGE, "/etc/nginx/nginx.conf", "/etc/podinfo/labels"]:
    show("read", lambda: (len(pathlib.Path(file).read_bytes()), open(file).readline()))
    show("stat", lambda: (oct(os.stat(file).st_mode), os.stat(file).st_size))
    show("samefile", lambda: os.path.samefile(file, os.path.realpath(file)))
    show("O_RDWR", lambda: os.open(file, os.O_RDWR))
    show("O_TRUNC", lambda: os.open(file, os.O_RDONLY | os.O_TRUNC))
    show("append", lambda: open(file, "a"))
    show("exclusive", lambda: open(file, "x"))
    show("unlink", lambda: os.unlink(file))
    show("rename", lambda: os.rename(file, "/scratch/renamed"))
    open("/tmp/kinject-source", "w").close()
    show("replace", lambda: os.replace("/tmp/kinject-source", file))
    os.unlink("/tmp/kinject-source")
    show("link", lambda: os.link(file, "/scratch/linked"))
    show("chmod", lambda: os.chmod(file, 0o600))
    show("utime", lambda: os.utime(file))
    show("truncate", lambda: os.truncate(file, 0))
    show("setxattr", lambda: os.setxattr(file, "user.x", b"y"))
    show("listxattr", lambda: os.listxattr(file))
    show("getxattr", lambda: os.getxattr(file, "user.x"))
    show("slash", lambda: open(file + "/"))
    show("below", lambda: open(file + "/x"))
    show("as folder", lambda: os.listdir(file))
    show("copy2", lambda: oct(os.stat(shutil.copy2(file, "copied")).st_mode))
    show("cmp", lambda: filecmp.cmp(file, "copied", shallow=False))
    with open(file, "rb") as opened:
        show("mmap", lambda: len(mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ)))
        show("sendfile", lambda: os.sendfile(os.open("sent", os.O_CREAT | os.O_WRONLY), opened.fileno(), 0, 100))
        show("pread", lambda: os.pread(opened.fileno(), 5, 2))
        show("flock", lambda: fcntl.flock(opened, fcntl.LOCK_SH))
        show("O_TMPFILE", lambda: os.open("/etc/config", os.O_TMPFILE | os.O_RDWR))
    show("linecache", lambda: linecache.getline(file, 1))
    show("fileinput", lambda: sum(1 for _ in fileinput.input([file, LARGE])))
for path in ["/etc/config/none", "/srv/data/none/deep", "/etc/config/greeting/x", "/srv/data/broken",
    "/srv/data/" + "n" * 300]:
    show("stat", lambda: os.stat(path))
    show("lstat", lambda: oct(os.lstat(path).st_mode))
    show("open", lambda: open(path))
    show("create", lambda: open(path, "w"))
    show("mkdir", lambda: os.mkdir(path))
    show("makedirs", lambda: os.makedirs(path, exist_ok=True))
    show("rmdir", lambda: os.rmdir(path))
    show("symlink", lambda: os.symlink("x", path))
    show("mkfifo", lambda: os.mkfifo(path))
    show("exists", lambda: (os.path.exists(path), os.path.lexists(path)))
    show("chdir", lambda: os.chdir(path))
show("tempfile", lambda: tempfile.NamedTemporaryFile(dir="/etc/config"))
show("rmtree", lambda: shutil.rmtree("/srv/data/www"))
show("move", lambda: shutil.move("/srv/data/www", "moved"))
show("zip", lambda: [i.filename for i in zipfile.PyZipFile("z.zip", "w").infolist()])
with zipfile.ZipFile("z.zip", "w") as archive:
    archive.write(FILE)
    archive.write(LARGE)
show("zip", lambda: zipfile.ZipFile("z.zip").namelist())

# an emptyDir
os.makedirs("a/b/c")
pathlib.Path("a/f").write_text("text")
os.symlink("../f", "a/b/l")
show("realpath", lambda: os.path.realpath("a/b/l"))
show("readlink", lambda: os.readlink("a/b/l"))
show("rename", lambda: os.rename("a/b", "a/d"))
show("renames", lambda: os.renames("a/d/c", "x/y/z"))
show("mkstemp", lambda: os.path.dirname(tempfile.mkstemp(dir=".")[1]))
show("tempdir", lambda: tempfile.TemporaryDirectory(dir=os.environ["WORK"]).cleanup())
show("O_TMPFILE", lambda: os.write(os.open(".", os.O_TMPFILE | os.O_RDWR), b"x"))
show("mkfifo", lambda: (os.mkfifo("fifo", 0o640), stat.filemode(os.stat("fifo").st_mode))[1])
show("truncate", lambda: (os.truncate("a/f", 2), os.stat("a/f").st_size)[1])
show("chmod", lambda: (os.chmod("a/f", 0o604), oct(os.stat("a/f").st_mode))[1])
show("utime", lambda: (os.utime("a/f", ns=(1, 2)), os.stat("a/f").st_mtime_ns)[1])
show("copy_file_range", lambda: os.copy_file_range(os.open("a/f", os.O_RDONLY), os.open("range",
    os.O_CREAT | os.O_WRONLY), 10))
base = sqlite3.connect("base.db")
base.execute("pragma journal_mode=wal")
base.execute("create table t(x)")
def insert():
    other = sqlite3.connect("base.db", timeout=30)
    with other:
        other.executemany("insert into t values(?)", [(n,) for n in range(100)])
threads = [threading.Thread(target=insert) for _ in range(4)]
[t.start() for t in threads], [t.join() for t in threads]
show("sqlite", lambda: base.execute("select count(*), sum(x) from t").fetchone())
base.close()
show("left", lambda: sorted(n for n in os.listdir(".") if not n.startswith("tmp")))
show("json", lambda: json.load(open("/etc/config/settings.json")))

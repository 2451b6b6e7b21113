import glob, os, pathlib, shutil, stat, tempfile

CONFIG, CACHE = "/srv/config", "/srv/cache"


def show(what, function, *args):
    try:
        print(what, function(*args))
    except OSError as error:
        print(what, type(error).__name__, error.errno, error.filename)


for folder, folders, files in os.walk(CONFIG):
    print("walk", folder, sorted(folders), sorted(files))
for folder, folders, files, descriptor in os.fwalk(CONFIG):
    print("fwalk", folder, sorted(folders), sorted(files), os.readlink(f"/proc/self/fd/{descriptor}"))
for path in ["", "/key", "/..data", "/none", "/sub/", "/dangling", "/sub/../key"]:
    path = CONFIG + path
    show("stat", lambda: stat.filemode(os.stat(path).st_mode))
    show("lstat", lambda: stat.filemode(os.lstat(path).st_mode))
    show("readlink", os.readlink, path)
    show("realpath", os.path.realpath, path)
    show("strict", pathlib.Path(path).resolve, True)
    show("read", lambda: open(path).read())
    show("write", lambda: open(path, "w"))
    show("append", lambda: open(path, "a"))
    show("exclusive", lambda: open(path, "x"))
    show("access", os.access, path, os.W_OK)
    show("listdir", lambda: sorted(os.listdir(path)))
    show("scandir", lambda: sorted((entry.path, entry.is_dir(), entry.is_symlink()) for entry in os.scandir(path)))
    show("remove", os.remove, path)
    show("rmdir", os.rmdir, path)
    show("mkdir", os.mkdir, path)
    show("chmod", os.chmod, path, 0o600)
    show("utime", os.utime, path)
    show("truncate", os.truncate, path, 0)
    show("rename", os.rename, path, path + "2")
    show("statvfs", lambda: os.statvfs(path).f_namemax)
show("glob", lambda: sorted(glob.glob(CONFIG + "/**", recursive=True, include_hidden=True)))
show("rglob", lambda: sorted(map(str, pathlib.Path(CONFIG).rglob("*"))))
show("exists", pathlib.Path(CONFIG, "key").exists)
show("copytree", shutil.copytree, CONFIG, CACHE + "/copy", True)
show("copied", lambda: sorted(os.listdir(CACHE + "/copy")))
show("rmtree", shutil.rmtree, CACHE + "/copy")
show("rmtree of config", shutil.rmtree, CONFIG)
os.chdir(CONFIG)
print(os.getcwd(), os.listdir("sub"), os.path.abspath("key"), pathlib.Path.cwd())
descriptor = os.open(".", os.O_RDONLY)
show("at", lambda: os.stat("key", dir_fd=descriptor).st_size)
show("at", lambda: os.open("key", os.O_WRONLY, dir_fd=descriptor))
show("at", lambda: os.mkdir("new", dir_fd=descriptor))
os.chdir("..")
print(os.getcwd(), os.path.exists("config/key"), os.path.samefile("config", CONFIG))
with tempfile.TemporaryDirectory(dir=CACHE, prefix="t") as folder:
    print(folder.startswith(CACHE), os.path.isdir(folder))
    path = os.path.join(folder, "file")
    with open(path, "w") as file:
        file.write("text")
    os.replace(path, path + "2")
    show("moved", os.listdir, folder)
    try:
        os.rename(path + "2", CONFIG + "/file")
    except OSError as error:
        print("across", error.errno, error.filename2)
    shutil.move(path + "2", CACHE + "/moved")
    show("moved", lambda: open(CACHE + "/moved").read())
    os.unlink(CACHE + "/moved")

import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.Arrays;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;

class ContainerFiles {
    static void show(String what, Callable<Object> call) {
        try {
            System.out.println(what + " " + call.call());
        } catch (Exception error) {
            System.out.println(what + " " + error);
        }
    }

    static String names(Path folder) throws Exception {
        try (var paths = Files.walk(folder)) {
            return paths.map(Path::toString).sorted().collect(Collectors.joining(","));
        }
    }

    public static void main(String[] args) throws Exception {
        for (String name : new String[] {"", "/key", "/..data", "/none", "/sub/", "/dangling"}) {
            Path path = Path.of("/srv/config" + name);
            File file = new File("/srv/config" + name);
            show("real", () -> path.toRealPath());
            show("canonical", () -> file.getCanonicalPath());
            show("mode", () -> PosixFilePermissions.toString(
                    Files.getPosixFilePermissions(path, LinkOption.NOFOLLOW_LINKS)));
            show("read", () -> Files.readString(path));
            show("stream", () -> new FileInputStream(file).read());
            show("write", () -> Files.writeString(path, "x"));
            show("output", () -> new FileOutputStream(file, true));
            show("random", () -> new RandomAccessFile(file, "rw"));
            show("exists", () -> file.exists() + " " + file.canRead() + " " + file.canWrite() + " " + file.length());
            show("list", () -> Arrays.asList(file.list()).stream().sorted().toList());
            show("names", () -> names(path));
            show("delete", () -> file.delete());
            show("deleteIfExists", () -> Files.deleteIfExists(path));
            show("mkdir", () -> file.mkdir());
            show("createDirectories", () -> Files.createDirectories(path));
            show("rename", () -> file.renameTo(new File("/srv/config/new")));
            show("link", () -> Files.isSymbolicLink(path) ? Files.readSymbolicLink(path) : "none");
            show("time", () -> file.setLastModified(1000));
            show("writable", () -> Files.isWritable(path));
        }
        Path made = Files.createTempFile(Path.of("/srv/cache"), "a", "b");
        Files.writeString(made, "text");
        Path moved = Files.move(made, Path.of("/srv/cache/moved"));
        show("moved", () -> Files.readString(moved));
        show("copied", () -> Files.copy(Path.of("/srv/config/key"), Path.of("/srv/cache/key")));
        show("names", () -> names(Path.of("/srv/cache")));
        Files.delete(moved);
        Files.delete(Path.of("/srv/cache/key"));
    }
}

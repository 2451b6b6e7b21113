import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.FileSystems;
import java.nio.file.FileVisitOption;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.StandardWatchEventKinds;
import java.nio.file.WatchEvent;
import java.nio.file.WatchKey;
import java.nio.file.WatchService;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFileAttributes;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** Java's file functions on mounted files and in an emptyDir, and a program that follows its application.properties. */
public class MountedFiles {
    static final Path WORK = Path.of(System.getenv("WORK"));

    static void show(String name, Callable<Object> call) {
        String result;
        try {
            result = String.valueOf(call.call());
        } catch (Exception error) {
            result = error.toString();
        }
        System.out.println(name + " " + result.replaceAll("\\.\\.2[0-9_.]+", "..TIME").replaceAll("\\d{10,}", "N"));
    }

    static List<String> sorted(Stream<Path> paths) {
        try (paths) {
            return paths.map(Path::toString).filter(path ->
                !path.contains("/..2")).sorted().collect(Collectors.toList());
        }
    }

    static Object entries(Path folder, String glob) throws IOException {
        List<String> names = new ArrayList<>();
        try (DirectoryStream<Path> stream = Files.newDirectoryStream(folder, glob)) {
            stream.forEach(path -> names.add(path.getFileName().toString()));
        }
        names.removeIf(name -> name.startsWith("..2"));
        names.sort(null);
        return names;
    }

    static Object attributes(Path path, LinkOption... options) throws IOException {
        PosixFileAttributes found = Files.readAttributes(path, PosixFileAttributes.class, options);
        return PosixFilePermissions.toString(found.permissions()) + (found.isRegularFile() ? found.size() : "")
                + found.isSymbolicLink() + found.isDirectory();
    }

    public static void main(String[] arguments) throws Exception {
        for (String mount : List.of("/etc/config", "/etc/secret", "/srv/data", "/etc/nginx/conf.d")) {
            Path folder = Path.of(mount);
            show("walk", () -> sorted(Files.walk(folder)));
            show("follow", () -> sorted(Files.walk(folder, FileVisitOption.FOLLOW_LINKS)));
            show("list", () -> sorted(Files.list(folder)));
            show("find", () -> sorted(Files.find(folder, 9, (path, found) -> found.isRegularFile())));
            show("glob", () -> entries(folder, "*.{conf,json,html}"));
            show("real", () -> folder.resolve("..").resolve(folder.getFileName()).toRealPath());
            show("attributes", () -> attributes(folder));
            show("writable", () ->
                Files.isWritable(folder) + " " + folder.toFile().canWrite() + folder.toFile().canRead());
            show("File.list", () -> Arrays.stream(folder.toFile().list()).filter(name ->
                !name.startsWith("..2")).sorted().toList());
            show("canonical", () -> new File(mount, "../" + folder.getFileName() + "/x").getCanonicalPath());
            show("temporary", () -> Files.createTempFile(folder, "a", "b"));
            show("folder", () -> folder.resolve("new").toFile().mkdir());
        }
        for (String name : List.of("/etc/config/greeting", "/srv/data/large.txt", "/etc/nginx/nginx.conf",
            "/srv/data/none",
                "/etc/config/greeting/x", "/srv/data/broken", "/srv/data/www")) {
            Path path = Path.of(name);
            File file = path.toFile();
            show("read", () -> Files.readString(path).length());
            show("lines", () -> Files.lines(path).count());
            show("attributes", () -> attributes(path));
            show("no follow", () -> attributes(path, LinkOption.NOFOLLOW_LINKS));
            show("link", () -> Files.readSymbolicLink(path));
            show("File", () ->
                file.exists() + " " + file.isFile() + " " + file.isDirectory() + " " + file.canExecute());
            show("same", () -> Files.isSameFile(path, path.toRealPath()));
            show("type", () -> Files.getOwner(path) != null);
            show("write", () -> Files.writeString(path, "x"));
            show("append", () -> Files.writeString(path, "x", StandardOpenOption.APPEND));
            show("create", () -> Files.createFile(path));
            show("delete", () -> Files.deleteIfExists(path));
            show("File.delete", () -> file.delete());
            show("move", () -> Files.move(path, WORK.resolve("moved")));
            show("move atomically", () -> Files.move(path, WORK.resolve("moved"), StandardCopyOption.ATOMIC_MOVE));
            show("renameTo", () -> file.renameTo(WORK.resolve("renamed").toFile()));
            show("hard link", () -> Files.createLink(WORK.resolve("hard"), path));
            show("symbolic", () -> Files.createSymbolicLink(path, path));
            show("folder", () -> Files.createDirectories(path));
            show("permissions", () -> Files.setPosixFilePermissions(path,
                PosixFilePermissions.fromString("rw-------")));
            show("time", () -> Files.setLastModifiedTime(path, FileTime.fromMillis(1)));
            show("File.time", () -> file.setLastModified(1) + " " + file.setReadOnly());
            show("copy", () -> attributes(Files.copy(path, WORK.resolve("copied"),
                StandardCopyOption.REPLACE_EXISTING)));
            show("copy to", () -> Files.copy(WORK, path));
            show("stream", () -> { try (FileInputStream in = new FileInputStream(file)) {
                return in.readAllBytes().length; } });
            show("out", () -> { new FileOutputStream(file).close(); return "written"; });
            show("random", () -> { try (RandomAccessFile in = new RandomAccessFile(file, "r")) { in.seek(2);
                return in.readLine() + in.length(); } });
            show("rw", () -> { new RandomAccessFile(file, "rw").close(); return "opened"; });
            show("channel", () -> {
                try (FileChannel from = FileChannel.open(path);
                        FileChannel to = FileChannel.open(WORK.resolve("channel"), StandardOpenOption.CREATE,
                            StandardOpenOption.WRITE)) {
                    ByteBuffer mapped = from.map(FileChannel.MapMode.READ_ONLY, 0, from.size());
                    return from.transferTo(0, from.size(), to) + " " + mapped.remaining() + " " + from.lock(0, 1,
                        true).isShared();
                }
            });
        }
        // an emptyDir
        Path deep = Files.createDirectories(WORK.resolve("a/b/c"));
        Files.writeString(WORK.resolve("a/f"), "text");
        Files.createSymbolicLink(WORK.resolve("a/b/l"), Path.of("../f"));
        show("real", () -> WORK.resolve("a/b/l").toRealPath());
        show("move", () -> Files.move(deep.getParent(), WORK.resolve("a/d")));
        show("walk", () -> sorted(Files.walk(WORK.resolve("a"))));
        show("temporary", () -> Files.createTempDirectory(WORK, "made").getParent());
        show("lock", () -> FileChannel.open(WORK.resolve("a/f"), StandardOpenOption.WRITE).lock().isValid());
        try (RandomAccessFile both = new RandomAccessFile(WORK.resolve("mapped").toFile(), "rw")) {
            both.setLength(8192);
            both.getChannel().map(FileChannel.MapMode.READ_WRITE, 0, 8192).put(4096, (byte) 'm');
        }
        show("mapped", () -> (char) Files.readAllBytes(WORK.resolve("mapped"))[4096]);

        Path properties = Path.of("/etc/config/application.properties");
        Properties read = new Properties();
        WatchService watcher = FileSystems.getDefault().newWatchService();
        properties.getParent().register(watcher, StandardWatchEventKinds.ENTRY_CREATE,
            StandardWatchEventKinds.ENTRY_DELETE,
                StandardWatchEventKinds.ENTRY_MODIFY);
        read.load(Files.newBufferedReader(properties, StandardCharsets.UTF_8));
        System.out.println(read.getProperty("greeting") + " " + read.getProperty("server.port"));
        System.out.println("CHANGE");
        while (!"changed".equals(read.getProperty("greeting"))) {
            WatchKey key = watcher.take();
            for (WatchEvent<?> event : key.pollEvents()) {
                if (event.context().toString().equals("..data")) {
                    System.out.println(event.kind() + " " + event.context());
                }
            }
            key.reset();
            read.load(Files.newBufferedReader(properties, StandardCharsets.UTF_8));
        }
        System.out.println(read.getProperty("greeting"));
    }
}

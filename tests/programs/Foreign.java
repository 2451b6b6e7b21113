import java.lang.invoke.MethodType;
import jdk.incubator.foreign.CLinker;
import jdk.incubator.foreign.FunctionDescriptor;
import jdk.incubator.foreign.MemoryAddress;
import jdk.incubator.foreign.ResourceScope;

/** Looks names up by libc's gethostbyname, which Java finds by the handle of a library of its own that depends on libc. */
class Foreign {
    public static void main(String[] names) throws Throwable {
        var gethostbyname = CLinker.getInstance().downcallHandle(
                CLinker.systemLookup().lookup("gethostbyname").orElseThrow(),
                MethodType.methodType(MemoryAddress.class, MemoryAddress.class),
                FunctionDescriptor.of(CLinker.C_POINTER, CLinker.C_POINTER));
        for (String name : names) {
            try (var scope = ResourceScope.newConfinedScope()) {
                var found = (MemoryAddress) gethostbyname.invokeExact(CLinker.toCString(name, scope).address());
                System.out.println(name + ": " + (found.equals(MemoryAddress.NULL) ? "unknown" : "found"));
            }
        }
    }
}

# The usual tools in an emptyDir.
set -u
mkdir -p one/two/three && cd one
printf 'b\na\nc\n' > list && sort -o list list && cat list
sed -i 's/a/A/' list && cat list && cp -p list copy && mv copy two/ && ln list hard && ln -s two/copy soft && cat soft
stat --format '%h %s %A' list soft && readlink -f soft && install -m 750 list two/installed &&
    stat --format %A two/installed
split -n 3 list part. && cat part.* | cmp - list && truncate -s 1M sparse && stat --format '%s' sparse
dd if=/dev/zero of=zeros bs=64k count=4 status=none && cmp -n 262144 sparse zeros && echo equal
printf 'x\ny\n' > before && printf 'x\nz\n' > after && diff -u --label a --label b before after > patch.diff
patch -s before patch.diff && cmp before after && echo patched
mkfifo pipe && { echo through > pipe & cat pipe; wait; }
tar czf all.tar.gz two list soft && mkdir unpacked && tar xzf all.tar.gz -C unpacked && find unpacked | sort
find . -name 'part.*' -delete && find . -type f | sort | xargs -n 4 echo
chmod 000 zeros && stat --format %A zeros && chmod -R u+rwX . && touch -d 2020-01-01T00:00:00Z list &&
    stat --format %Y list
(flock 9 && echo locked) 9> lock
mktemp -d made.XXXX | cut -c1-5 && TMPDIR=$PWD mktemp | sed "s|tmp\..*|tmp|"
printf 'int puts(const char *); int main(void) { return puts("compiled") < 0; }\n' > main.c
printf 'main: main.c\n\tgcc -o $@ $<\n\techo made\n' > Makefile && make --no-print-directory
cp main two/main && ls -l --time-style=+ two | awk '$1 != "total" { print $1, $NF }'
sqlite3 base.db 'pragma journal_mode=wal; create table t(x); insert into t values(1),(2); select sum(x) from t;'
sqlite3 base.db 'vacuum; pragma integrity_check;' && ls base.db*
vim -u NONE -es -c '%s/A/vim/' -c wq list && cat list
perl -e 'print join(" ", sort glob("*.c part* two/*")), "\n"; rename "list", "renamed" or die; print -s "renamed", "\n"'
bash -c 'shopt -s globstar; echo **/*.c **/copy; [[ -w renamed && -L soft && renamed -ef hard ]] && echo tests; cd two && echo "$PWD" && cd .. && pwd -P'
python3 -c 'import py_compile, shutil; open("m.py", "w").write("x = 1\n"); print(py_compile.compile("m.py")); import m; print(m.__file__, shutil.make_archive("zipped", "zip", "two"))'
mv two moved && ls moved && rm -r moved && ls -A | grep -v '^tmp\|^made' | sort | tr '\n' ' '; echo
cd .. && rm -r one && ls -A

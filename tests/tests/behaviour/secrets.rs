//! Other processes of the same user cannot read the relay's keys and tokens.

use kinject_tests::ordinary::Agent;
use kinject_tests::programs::shell;
use kinject_tests::running::run;

/// Tries to open what `/proc` shows of the launcher and of its relay, which the program of a session knows to find.
const PROBE: &str = r#"
for child in $(cat /proc/$PPID/task/*/children); do
    [ "$(cat /proc/$child/comm)" = kinject-relay ] && relay=$child
done
look() {
    for file in $2; do
        if (exec 3<"/proc/$1/$file") 2>/dev/null; then echo "$file opens"; else echo "$file does not open"; fi
    done
}
echo launcher; look $PPID 'environ'
echo relay; look $relay 'status environ mem maps fd'
"#;

#[test]
fn same_user_process_cannot_read_relay_memory_environment_or_descriptors() {
    let agent = Agent::start("nameserver 127.0.0.9\n");
    run(&mut agent.kinject(&shell(PROBE))).succeeded().prints(
        "launcher\nenviron opens\nrelay\nstatus opens\nenviron does not open\nmem does not open\nmaps does not open\n\
         fd does not open\n",
    );
}

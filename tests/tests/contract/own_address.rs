//! The pod's address as a program's own: listening at it, connecting to it, sending from it.

use kinject_tests::on_both_testbeds;
use kinject_tests::programs::{go, python};

use crate::targets::{GREETING, NAME_SERVER};

on_both_testbeds! {
    fn own_address_can_be_listened_at_connected_to_and_sent_from(fixture: shared) {
        let outcome = fixture.same(python("own_address.py").args([GREETING[0], NAME_SERVER]));
        for part in [
            "a listener at the own address: listens again\n",
            "    listens at own with a port\n    client at own with a port of True\n",
            "    accepted from own, mapped with a port at own, mapped with a port, peer own, mapped with a port\n",
            "    a child: True True b'welcome'\n",
            "the same port once more: EADDRINUSE\n",
            "nobody listens: ['ECONNREFUSED', '0.0.0.0 with a port', 0, 'own with a port']\n",
            "nobody listens: ['ECONNREFUSED', '0.0.0.0 with a port', 0, '127.0.0.1 with a port', '127.0.0.1 with a port']\n",
            "nobody listens: ['ECONNREFUSED', '0.0.0.0 with a port', 0, 'own with a port', 'own with a port']\n",
            "nobody listens, not blocking: ['ECONNREFUSED', 'own with a port', 'ECONNABORTED', '0.0.0.0 with a port', 0, ",
            "to a service: ('own with a port', 'EINPROGRESS', b'hello', 'own with a port')\n",
            "datagram with its source, bound there: ('own with a port', (b'hello', ('10.96.10.3', 7000)), ",
            "datagram to myself: (b'to myself', 'own with a port', b'and back', 'own with a port', True)\n",
            "by number: done\n",
        ] {
            outcome.shows(part);
        }
    }

    fn go_program_connects_to_itself_at_its_own_address(fixture: shared) {
        if cfg!(target_arch = "x86_64") && let Some(program) = go("own_address", &[("CGO_ENABLED", "1")], &[]) {
            let program = program.args([format!("{NAME_SERVER}:53"), format!("{}:7000", GREETING[0])]);
            fixture.same(program).prints(
                "listens at the own address: true\nfrom the own address: true, at it: true\n\
                 received hello from 10.96.10.3:7000\n",
            );
        }
    }
}

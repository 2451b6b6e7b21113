//! Programs of the command line.

use kinject_tests::fixture::Fixture;
use kinject_tests::on_both_testbeds;
use kinject_tests::programs::{installed, shell};
use kinject_tests::running::Outcome;

/// A line whose standard error counts as output.
fn line(fixture: &Fixture, line: &str) -> Outcome {
    fixture.same_however_it_ends(shell(&format!("{{ {line}; }} 2>&1")))
}

on_both_testbeds! {
    fn curl_reaches_a_service_by_every_name(fixture: shared) {
        if installed("curl").is_none() { return }
        for host in [
            "web", "web.default", "web.default.svc.cluster.local", "web.default.svc.cluster.local.", "10.96.10.1",
        ] {
            line(fixture, &format!("curl -sS http://{host}/")).exited(0).prints("hello from web\n");
        }
        line(fixture, "curl -sS http://web.other/").prints("hello from other web\n");
        line(fixture, "curl -sS http://db-1.db:8080/").exited(0).shows("hello from db");
    }

    fn curl_exits_with_the_status_of_each_failure(fixture: shared) {
        if installed("curl").is_none() { return }
        line(fixture, "curl -s http://missing.external.test/").exited(6);
        line(fixture, "curl -s http://anything.broken.test/").exited(6);
        line(fixture, "curl -s http://refused/").exited(7);
        line(fixture, "curl -s http://unroutable.external.test/").exited(7);
        line(fixture, "curl -s --connect-timeout 0.5 http://silent.external.test/").exited(28);
    }

    fn curl_reports_the_address_it_is_connected_to(fixture: shared) {
        if installed("curl").is_none() { return }
        line(fixture, "curl -sS -o /dev/null -w '%{remote_ip} %{remote_port} %{http_code}\\n' http://api/")
            .prints("10.96.10.2 80 200\n");
    }

    fn curl_runs_parallel_transfers(fixture: shared) {
        if installed("curl").is_none() { return }
        let outcome = line(fixture, "curl -sS --no-progress-meter -Z --parallel-max 50 'http://web/?[1-200]' | sort | uniq -c");
        outcome.shows("200 hello from web");
    }

    fn wget_matches_bare(fixture: shared) {
        if installed("wget").is_none() { return }
        line(fixture, "wget -qO- http://web.default/").exited(0).prints("hello from web\n");
        line(fixture, "wget -qO- --tries=1 http://refused/").exited(4);
        line(fixture, "wget -qO- http://missing.external.test/").exited(4);
    }

    fn getent_by_name_and_by_address_matches_bare(fixture: shared) {
        if installed("getent").is_none() { return }
        line(fixture, "getent ahosts web").exited(0).shows("10.96.10.1      STREAM web");
        line(fixture, "getent hosts web.other").exited(0).shows("10.96.10.4");
        line(fixture, "getent hosts 10.96.10.1").exited(0).shows("web.default.svc.cluster.local");
        line(fixture, "getent ahosts missing.external.test").exited(2).prints("");
    }

    fn ssh_by_service_name_matches_bare(fixture: shared) {
        if installed("ssh").is_none() { return }
        let ssh = "ssh -F /dev/null -o BatchMode=yes -o ConnectTimeout=10";
        // a greeting, and the end
        line(fixture, &format!("{ssh} -p 7005 echo")).exited(255).shows("10.96.10.3 port 7005");
        line(fixture, &format!("{ssh} -p 80 refused")).exited(255).shows("port 80: Connection refused");
        line(fixture, &format!("{ssh} missing.external.test")).exited(255).shows("Name or service not known");
    }
}

use super::*;
use crate::test_agent::{DEADLINE, TestAgent};
use kinject_protocol::session::Event;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

/// The notices of a session whose tunnel breaks, until there is another one. If `shut`, the agent accepts none before
/// the first notice.
async fn notices_of_an_outage(shut: bool) -> Vec<String> {
    let agent = TestAgent::start().await;
    let (events, mut received) = mpsc::channel(8);
    let (reconnector, uplink) = Reconnector::new(agent.connector(), events);
    let established = reconnector.connect().await.unwrap();
    let (renewed, mut is_renewed) = mpsc::channel(1);
    let session =
        tokio::task::spawn_local(reconnector.run(established, move |_| renewed.try_send(()).unwrap()));
    uplink.up().await.unwrap();
    agent.is_open.send_replace(!shut);
    agent.broken.notify_one();
    let mut notices = Vec::new();
    loop {
        tokio::select! {
            // notices before the new tunnel are received before it
            biased;
            event = received.recv() => match event {
                Some(Event::Notice(report)) => {
                    agent.is_open.send_replace(true);
                    notices.push(report.message);
                }
                Some(Event::Recovered(message)) => notices.push(message),
                other => panic!("{other:?}"),
            },
            Some(()) = is_renewed.recv() => break,
        }
    }
    session.abort();
    notices
}

#[tokio::test]
async fn lasting_outage_and_its_end_are_reported() {
    let test = async {
        let notices = notices_of_an_outage(true).await;
        let [lost, again] = notices.as_slice() else {
            panic!("{notices:?}")
        };
        assert!(
            lost.starts_with("lost the connection to the agent: the "),
            "{lost}"
        );
        assert!(
            again.starts_with("connected to the agent again after "),
            "{again}"
        );
    };
    tokio::time::timeout(DEADLINE, LocalSet::new().run_until(test))
        .await
        .unwrap();
}

/// On a machine so busy that the outage lasts longer, both notices are correct.
#[tokio::test]
async fn short_outage_is_not_reported() {
    let test = async {
        let notices = notices_of_an_outage(false).await;
        let seconds = |line: &String| line.split_whitespace().rev().nth(1).unwrap().parse::<f32>();
        let took_long = notices.last().is_some_and(|again| seconds(again).unwrap() >= 1.9);
        assert!(notices.is_empty() || took_long, "{notices:?}");
    };
    tokio::time::timeout(DEADLINE, LocalSet::new().run_until(test))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn outage_is_as_long_as_there_has_been_no_tunnel_without_a_break() {
    let (state, receiver) = watch::channel(State::Connecting);
    let uplink = Uplink {
        state: receiver,
        sources: Rc::default(),
    };
    let mut down = std::pin::pin!(uplink.is_down_for(Duration::from_secs(30)));
    let mut ends_within = async |seconds| {
        tokio::time::timeout(Duration::from_secs(seconds), &mut down)
            .await
            .is_ok()
    };
    assert!(!ends_within(29).await);
    // for the wait any other state is as good as a tunnel
    state.send_replace(State::Ended);
    assert!(!ends_within(100).await);
    state.send_replace(State::Connecting);
    assert!(!ends_within(29).await);
    assert!(ends_within(2).await);
}

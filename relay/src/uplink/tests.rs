use super::*;
use crate::test_agent::{DEADLINE, TestAgent};
use kinject_protocol::session::Event;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

/// What the user is told of a session whose tunnel breaks, until there is another one. The agent takes none before the user
/// is told, if it is `shut`.
async fn told_of_an_outage(shut: bool) -> Vec<String> {
    let agent = TestAgent::start().await;
    let (events, mut heard) = mpsc::channel(8);
    let (reconnector, uplink) = Reconnector::new(agent.connector(), events);
    let established = reconnector.connect().await.unwrap();
    let (renewed, mut is_renewed) = mpsc::channel(1);
    let session =
        tokio::task::spawn_local(reconnector.run(established, move |_| renewed.try_send(()).unwrap()));
    uplink.up().await.unwrap();
    agent.is_open.send_replace(!shut);
    agent.broken.notify_one();
    let mut told = Vec::new();
    loop {
        tokio::select! {
            // what is said before comes before
            biased;
            event = heard.recv() => match event {
                Some(Event::Notice(report)) => {
                    agent.is_open.send_replace(true);
                    told.push(report.message);
                }
                Some(Event::Recovered(message)) => told.push(message),
                other => panic!("{other:?}"),
            },
            Some(()) = is_renewed.recv() => break,
        }
    }
    session.abort();
    told
}

#[tokio::test]
async fn lasting_outage_and_its_end_are_reported() {
    let test = async {
        let told = told_of_an_outage(true).await;
        let [lost, again] = told.as_slice() else {
            panic!("{told:?}")
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

/// Where the machine is so busy that it takes longer, both lines are right.
#[tokio::test]
async fn short_outage_is_not_reported() {
    let test = async {
        let told = told_of_an_outage(false).await;
        let seconds = |line: &String| line.split_whitespace().rev().nth(1).unwrap().parse::<f32>();
        let took_long = told.last().is_some_and(|again| seconds(again).unwrap() >= 1.9);
        assert!(told.is_empty() || took_long, "{told:?}");
    };
    tokio::time::timeout(DEADLINE, LocalSet::new().run_until(test))
        .await
        .unwrap();
}

//! A page by reqwest. usage: matrix-reqwest HOST PORT SECONDS

use std::env;
use std::error::Error;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().collect();
    let client = reqwest::blocking::Client::builder()
        // a limit for connects alone is set at two timers of the same length, each with an error of its own
        .timeout(Duration::from_secs(arguments[3].parse()?))
        .no_proxy()
        .build()?;
    let page = client.get(format!("http://{}:{}/", arguments[1], arguments[2]));
    match page.send().and_then(|response| Ok((response.status(), response.text()?))) {
        Ok((status, body)) => print!("{status} {body}"),
        Err(error) => {
            let mut cause: Option<&dyn Error> = Some(&error);
            while let Some(error) = cause {
                println!("{error}");
                cause = error.source();
            }
        }
    }
    Ok(())
}

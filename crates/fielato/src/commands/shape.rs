//! `fielato shape`

use anyhow::{Result, bail};
use fielato_control::protocol::{Request, Response};
use fielato_control::{Paths, client};

use crate::output;

/// `fielato shape show`
pub fn show(paths: &Paths, json: bool) -> Result<()> {
    let Response::Shape(shape) = client::request(paths, &Request::Shape)? else {
        bail!("the daemon answered something else")
    };
    if json {
        return output::json(&shape);
    }
    for device in &shape.devices {
        println!("dev {}", device.dev);
        for item in &device.items {
            println!("{}", item.text);
        }
    }
    Ok(())
}

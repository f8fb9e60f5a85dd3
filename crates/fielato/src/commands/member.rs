//! `fielato member`

use std::io::IsTerminal as _;

use anyhow::{Context as _, Result, bail};
use fielato_control::edit::Edit;
use fielato_control::{Paths, files, secrets, source};
use fielato_policy::config::{Config, Member, Route};
use fielato_policy::edit;
use fielato_policy::edit::NewMember;
use fielato_policy::render::wg_quick;
use fielato_wireguard::{PresharedKey, PrivateKey, PublicKey};
use jiff::Timestamp;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde::Serialize;

use crate::cli::{self, Member as Command};
use crate::output::{self, table};

/// `fielato member …`
pub fn run(paths: &Paths, command: Command) -> Result<()> {
    match command {
        Command::Add(args) => add(paths, args),
        Command::List(args) => list(paths, args.json),
        Command::Show { name, json } => show(paths, &name, json.json),
        Command::Config(args) => config(paths, args),
        Command::Remove { name } => remove(paths, &name),
        Command::Disable { name } => set_disabled(paths, &name, true),
        Command::Enable { name } => set_disabled(paths, &name, false),
    }
}

fn add(paths: &Paths, args: cli::MemberAdd) -> Result<()> {
    let edit = Edit::begin(paths)?;
    let (public_key, private_key) = match args.public_key {
        Some(text) => (text.parse::<PublicKey>().context("--public-key")?, None),
        None => {
            let key = PrivateKey::generate().context("the system has no randomness to give")?;
            (key.public_key(), Some(key))
        }
    };
    let member = NewMember {
        groups: args.groups,
        ..NewMember::new(&args.name, public_key)
    };
    let (text, addresses) = edit::add_member(edit.texts.document(), &member)?;

    // Keys first: a member without its keys could not connect, keys without a member hurt nobody. A member of this name is
    // not in the file, so what stands under its name is left from one that was.
    files::remove(&paths.member_key(&args.name))?;
    files::remove(&paths.member_psk(&args.name))?;
    if let Some(key) = &private_key {
        secrets::create(&paths.member_key(&args.name), &key.to_base64())?;
    }
    if !args.no_psk {
        let psk = PresharedKey::generate().context("the system has no randomness to give")?;
        secrets::create(&paths.member_psk(&args.name), &psk.to_base64())?;
    }
    edit.commit(&text)?;
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    println!(
        "added {} with {}; next: `fielato reload`, and `fielato member config {0}` for its file",
        args.name,
        addresses.join(", ")
    );
    Ok(())
}

fn remove(paths: &Paths, name: &str) -> Result<()> {
    let edit = Edit::begin(paths)?;
    let text = edit::remove_member(edit.texts.document(), name)?;
    edit.commit(&text)?;
    files::remove(&paths.member_key(name))?;
    files::remove(&paths.member_psk(name))?;
    println!("removed {name} and its keys; next: `fielato reload`");
    Ok(())
}

fn set_disabled(paths: &Paths, name: &str, disabled: bool) -> Result<()> {
    let edit = Edit::begin(paths)?;
    let text = edit::set_disabled(edit.texts.document(), name, disabled)?;
    edit.commit(&text)?;
    println!(
        "{name} is {}; next: `fielato reload`",
        if disabled { "disabled" } else { "enabled" }
    );
    Ok(())
}

fn find<'a>(config: &'a Config, name: &str) -> Result<&'a Member> {
    config
        .members
        .get(name)
        .with_context(|| format!("there is no member {name}; `fielato member list` names them all"))
}

/// A member as `list` and `show` print it.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    addresses: &'a [std::net::IpAddr],
    public_key: String,
    groups: &'a [String],
    route: String,
    keepalive: Option<u16>,
    expires: Option<Timestamp>,
    state: &'static str,
    private_key_here: bool,
    preshared_key: bool,
}

impl<'a> Shown<'a> {
    fn new(paths: &Paths, name: &'a str, member: &'a Member, now: Timestamp) -> Self {
        Self {
            name,
            addresses: &member.addresses,
            public_key: member.public_key.to_string(),
            groups: &member.groups,
            route: match &member.route {
                Route::All => "all".into(),
                Route::Lab => "lab".into(),
                Route::Prefixes(prefixes) => prefixes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            },
            keepalive: member.keepalive,
            expires: member.expires,
            state: match (member.disabled, member.expires) {
                (true, _) => "disabled",
                (_, Some(expires)) if expires <= now => "expired",
                _ => "active",
            },
            private_key_here: paths.member_key(name).exists(),
            preshared_key: paths.member_psk(name).exists(),
        }
    }

    fn addresses(&self) -> String {
        self.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }
}

fn list(paths: &Paths, json: bool) -> Result<()> {
    let config = source::load(paths)?;
    let now = Timestamp::now();
    let members: Vec<Shown<'_>> = config
        .members
        .iter()
        .map(|(name, member)| Shown::new(paths, name, member, now))
        .collect();
    if json {
        return output::json(&serde_json::json!({ "version": fielato_control::protocol::VERSION, "members": members }));
    }
    if members.is_empty() {
        println!("no members; next: `fielato member add NAME`");
        return Ok(());
    }
    let row = |member: &Shown<'_>| {
        vec![
            member.name.into(),
            member.addresses(),
            member.groups.join(" "),
            member.route.clone(),
            member.state.into(),
        ]
    };
    let rows: Vec<Vec<String>> = members.iter().map(row).collect();
    print!("{}", table(&["member", "addresses", "groups", "route", "state"], &rows));
    Ok(())
}

fn show(paths: &Paths, name: &str, json: bool) -> Result<()> {
    let config = source::load(paths)?;
    let member = Shown::new(paths, name, find(&config, name)?, Timestamp::now());
    if json {
        return output::json(&serde_json::json!({ "version": fielato_control::protocol::VERSION, "member": member }));
    }
    println!("member {name}");
    println!("  addresses      {}", member.addresses());
    println!("  public key     {}", member.public_key);
    println!("  groups         {}", member.groups.join(" "));
    println!("  route          {}", member.route);
    println!("  keepalive      {}", output::or_dash(member.keepalive));
    println!("  expires        {}", output::or_dash(member.expires));
    println!("  state          {}", member.state);
    println!(
        "  private key    {}",
        if member.private_key_here {
            "kept here"
        } else {
            "the member's own"
        }
    );
    println!("  preshared key  {}", if member.preshared_key { "yes" } else { "no" });
    Ok(())
}

fn config(paths: &Paths, args: cli::MemberConfig) -> Result<()> {
    let config = source::load(paths)?;
    find(&config, &args.name)?;
    let text = wg_quick_file(paths, &config, &args.name, args.split)?;
    if !args.qr {
        print!("{text}");
        return Ok(());
    }
    if !std::io::stdout().is_terminal() {
        eprintln!("fielato: this QR code holds a private key; show it to nobody else");
    }
    let code = QrCode::new(text.as_bytes()).context("the file is too long for a QR code; tunnel fewer networks")?;
    println!(
        "{}",
        code.render::<Dense1x2>()
            .quiet_zone(true)
            .dark_color(Dense1x2::Light)
            .light_color(Dense1x2::Dark)
            .build()
    );
    Ok(())
}

/// A member's wg-quick file, as text. What should be looked at goes to standard error.
pub fn wg_quick_file(paths: &Paths, config: &Config, name: &str, split: bool) -> Result<String> {
    let secrets = wg_quick::Secrets {
        private_key: secrets::member_key(paths, name)?,
        psk: secrets::member_psk(paths, name)?,
    };
    let hub_key = secrets::hub_key(paths, &config.hub.interface)?.public_key();
    let Some(file) = wg_quick::member_config(config, name, secrets, hub_key, split.then_some(true)) else {
        bail!("there is no member {name}")
    };
    for warning in &file.warnings {
        eprintln!("fielato: {warning}");
    }
    Ok(file.file.emit())
}

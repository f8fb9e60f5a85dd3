//! Prints the JSON Schema of `fielato.toml`, which `docs/fielato.schema.json` is.

fn main() {
    print!("{}", fielato_policy::json_schema());
}

//! Files over files: a later one wins, key by key.

use std::collections::BTreeMap;

use builder_image::registry::{ClientCertificate, HostSettings, Hosts};

use super::file::{File, Table};

/// The tables of all files so far.
#[derive(Debug, Default)]
pub(super) struct Tables(BTreeMap<String, Table>);

impl Tables {
    /// Lays a file over what there is.
    pub(super) fn lay_over(&mut self, file: File) {
        for (host, new) in file.registries {
            let table = self.0.entry(host).or_default();
            let old = std::mem::take(table);
            *table = Table {
                mirrors: new.mirrors.or(old.mirrors),
                insecure: new.insecure.or(old.insecure),
                http: new.http.or(old.http),
                ca: new.ca.or(old.ca),
                client: new.client.or(old.client),
                credentials_helper: new.credentials_helper.or(old.credentials_helper),
            };
        }
    }

    /// What they say, for the client of registries.
    pub(super) fn into_hosts(self) -> Hosts {
        let mut hosts = Hosts::default();
        for (host, table) in self.0 {
            hosts.insert(
                host,
                HostSettings {
                    mirrors: table.mirrors.unwrap_or_default(),
                    insecure: table.insecure.unwrap_or_default(),
                    http: table.http,
                    ca: table.ca.unwrap_or_default(),
                    client: table.client.map(|client| ClientCertificate { cert: client.cert, key: client.key }),
                    credentials_helper: table.credentials_helper,
                },
            );
        }
        hosts
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_later_file_wins_key_by_key() {
        let mut tables = Tables::default();
        for text in [
            "[registry.\"a.b\"]\nhttp = true\ninsecure = true\nmirrors = [\"one.lan\"]",
            "[registry.\"a.b\"]\ninsecure = false\nmirrors = [\"two.lan\"]\n[registry.\"c.d\"]\nhttp = true",
        ] {
            tables.lay_over(File::parse(text, Path::new("/builder.toml")).expect("it is right"));
        }
        let hosts = tables.into_hosts();
        let settings = hosts.get("a.b");
        assert_eq!((settings.http, settings.insecure), (Some(true), false));
        assert_eq!(settings.mirrors, ["two.lan"]);
        assert_eq!(hosts.get("c.d").http, Some(true));
    }
}

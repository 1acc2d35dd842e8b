//! Tars as nobody should write them.

/// A tar made header by header.
#[derive(Default, Clone)]
pub(crate) struct RawTar(pub(crate) Vec<u8>);

impl RawTar {
    pub(crate) fn header(mut self, path: &str, kind: u8, link: &str, size: &[u8; 12]) -> Self {
        let mut header = tar::Header::new_gnu();
        let bytes = header.as_mut_bytes();
        bytes[..path.len()].copy_from_slice(path.as_bytes());
        bytes[100..107].copy_from_slice(b"0000644");
        bytes[108..115].copy_from_slice(b"0000000");
        bytes[116..123].copy_from_slice(b"0000000");
        bytes[124..136].copy_from_slice(size);
        bytes[136..147].copy_from_slice(b"00000000007");
        bytes[156] = kind;
        bytes[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self
    }

    pub(crate) fn data(mut self, data: &[u8]) -> Self {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn entry(self, path: &str, kind: u8, link: &str, data: &[u8]) -> Self {
        let size = format!("{:011o}\0", data.len());
        self.header(path, kind, link, size.as_bytes().try_into().unwrap()).data(data)
    }

    pub(crate) fn file(self, path: &str, data: &str) -> Self {
        self.entry(path, b'0', "", data.as_bytes())
    }

    pub(crate) fn dir(self, path: &str) -> Self {
        self.entry(path, b'5', "", b"")
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path, b'2', target, b"")
    }

    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        self.entry(path, b'1', target, b"")
    }

    pub(crate) fn pax(self, records: &[(&str, &str)]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let bare = key.len() + value.len() + 3;
            let length = (bare + 1..bare + 8).find(|length| length.to_string().len() + bare == *length).unwrap();
            data.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
        }
        self.entry("pax", b'x', "", &data)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

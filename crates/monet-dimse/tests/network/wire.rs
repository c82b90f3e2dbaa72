//! A peer that says what a test tells it to, byte by byte.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use monet_dicom::read::{Keep, data_set};
use monet_dicom::syntax::Syntax;
use monet_dicom::write::{self, Writer};
use monet_dicom::{Dataset, Tag};
use monet_dimse::pdu::{
    Abort, Associate, HEADER, PduKind, ProposedContext, UserInformation, put_pdv, put_release,
};
use monet_dimse::uids;

use super::server::{CT, MR, title};

/// Context of verification.
pub(crate) const ECHO: u8 = 1;
/// Context of CT images.
pub(crate) const STORE: u8 = 3;

/// A connection without rules.
pub(crate) struct Wire(pub(crate) TcpStream);

/// What was received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Pdu(PduKind, Vec<u8>),
    Closed,
}

impl Wire {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    pub(crate) fn over(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.set_nodelay(true).unwrap();
        Self(socket)
    }

    /// A connection with an association open: verification, CT and MR.
    pub(crate) fn associated(address: SocketAddr) -> Self {
        let mut wire = Self::connect(address);
        wire.send(&associate());
        let got = wire.receive();
        assert!(matches!(got, Got::Pdu(PduKind::AssociateAccept, _)), "{got:?}");
        wire
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        // A peer that has hung up is what some tests are about.
        let _ = self.0.write_all(bytes);
    }

    pub(crate) fn receive(&mut self) -> Got {
        let mut header = [0; HEADER];
        match self.0.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("nothing came"),
            Err(_) => return Got::Closed,
        }
        let length = u32::from_be_bytes(*header[2..].first_chunk().unwrap());
        let mut body = vec![0; length as usize];
        self.0.read_exact(&mut body).unwrap();
        Got::Pdu(PduKind::from_byte(header[0]).unwrap(), body)
    }

    /// A whole command of one PDU: its field, status and message.
    pub(crate) fn answer(&mut self) -> [u16; 3] {
        let Got::Pdu(PduKind::Data, body) = self.receive() else { panic!("no answer") };
        let mut source = io::Cursor::new(body[6..].to_vec());
        let set = data_set(&mut source, &Syntax::ImplicitLittle, &Keep::all()).unwrap();
        [0x0100, 0x0900, 0x0120].map(|element| {
            u16::from_le_bytes(*set.bytes(Tag(0, element)).unwrap().first_chunk().unwrap())
        })
    }

    /// Expects an abort of the protocol, for a reason.
    pub(crate) fn aborted(&mut self, reason: u8) {
        match self.receive() {
            Got::Pdu(PduKind::Abort, body) => {
                let abort = Abort::parse(body.try_into().unwrap());
                assert_eq!(abort, Abort { source: 2, reason });
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A request to associate, without limit on PDUs.
pub(crate) fn associate() -> Vec<u8> {
    let user = UserInformation::default();
    let mut request = Associate::new(wire_title("SCP"), wire_title("SCU"), user);
    let classes = [uids::VERIFICATION, CT, MR];
    let context = |(id, class): (u8, &str)| ProposedContext {
        id,
        class: class.to_owned(),
        syntaxes: vec!["1.2.840.10008.1.2".to_owned()],
    };
    request.contexts = (1..).step_by(2).zip(classes).map(context).collect();
    let mut bytes = Vec::new();
    request.put(&mut bytes);
    bytes
}

fn wire_title(text: &str) -> [u8; 16] {
    let text = format!("{:16}", title(text).as_str());
    *text.as_bytes().first_chunk().unwrap()
}

pub(crate) fn release() -> Vec<u8> {
    let mut bytes = Vec::new();
    put_release(PduKind::ReleaseRequest, &mut bytes);
    bytes
}

/// A fragment as a PDU of its own.
pub(crate) fn fragment(context: u8, command: bool, last: bool, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_pdv(context, command, last, content.len() as u32, &mut bytes);
    bytes.extend(content);
    bytes
}

/// A command set of numbers and UIDs.
pub(crate) fn command(numbers: &[(u16, u16)], uids: &[(u16, &str)]) -> Vec<u8> {
    let mut set = Dataset::new();
    uids.iter().for_each(|(element, uid)| {
        // As bytes: what is no UID goes out, too.
        let mut bytes = uid.as_bytes().to_vec();
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        set.put_bytes(Tag(0, *element), b"UN", bytes);
    });
    numbers.iter().for_each(|(element, number)| set.put_u16(Tag(0, *element), &[*number]));
    set.put_u32(Tag(0, 0), &[write::Syntax::Implicit.length(&set) as u32]);
    let mut writer = Writer::data_set(Vec::new(), write::Syntax::Implicit);
    writer.elements(&set).unwrap();
    writer.finish().unwrap()
}

/// An echo's command set.
pub(crate) fn echo(message: u16) -> Vec<u8> {
    let numbers = [(0x0100, 0x0030), (0x0110, message), (0x0800, 0x0101)];
    command(&numbers, &[(0x0002, uids::VERIFICATION)])
}

/// A store's command set.
pub(crate) fn store(message: u16, class: &str, instance: &str) -> Vec<u8> {
    let numbers = [(0x0100, 1), (0x0110, message), (0x0700, 0), (0x0800, 0)];
    command(&numbers, &[(0x0002, class), (0x1000, instance)])
}

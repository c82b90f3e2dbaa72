//! The side that calls: what it proposes.

use monet_dicom::uid;
use monet_dicom::write::{EXPLICIT_LITTLE, IMPLEMENTATION, IMPLEMENTATION_NAME, IMPLICIT_LITTLE};

use crate::association::{Association, Context, Peer};
use crate::error::{Error, Phase, Violation};
use crate::limits::{DEFAULT_PDU, Limits, MAX_CONTEXTS, MAX_PDU, MIN_PDU};
use crate::link::Link;
use crate::pdu::{
    Abort, Accept, Answer, Associate, PduKind, ProposedContext, Reject, Role, UserInformation,
};
use crate::stream::Stream;
use crate::title::AeTitle;

/// What a side that calls proposes.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// This side's title.
    pub calling: AeTitle,
    /// The peer's title.
    pub called: AeTitle,
    /// SOP classes, each with transfer syntaxes of which the peer chooses one. What has to be sent
    /// as it is, in one syntax of several, comes several times, each with one syntax.
    pub contexts: Vec<(String, Vec<String>)>,
    /// SOP classes of which this side is the provider, though it calls: storage commitment, to
    /// report.
    pub provides: Vec<String>,
    /// Longest P-DATA body that is taken, in bytes, 4 KiB to 256 KiB.
    pub max_pdu: u32,
    /// What the peer may take of this side's time.
    pub limits: Limits,
}

impl Proposal {
    /// A proposal without contexts, PDUs of 64 KiB, default limits.
    #[must_use]
    pub fn new(calling: AeTitle, called: AeTitle) -> Self {
        let (contexts, provides) = (Vec::new(), Vec::new());
        let limits = Limits::default();
        Self { calling, called, contexts, provides, max_pdu: DEFAULT_PDU, limits }
    }

    /// With a SOP class in uncompressed little endian.
    #[must_use]
    pub fn with(mut self, class: &str) -> Self {
        let plain = [EXPLICIT_LITTLE, IMPLICIT_LITTLE].map(str::to_owned);
        self.add((class.to_owned(), plain.to_vec()));
        self
    }

    /// With a SOP class in one transfer syntax.
    #[must_use]
    pub fn with_syntax(mut self, class: &str, syntax: &str) -> Self {
        self.add((class.to_owned(), vec![syntax.to_owned()]));
        self
    }

    /// Adds a context that is not there yet: the classes of many instances are few.
    fn add(&mut self, context: (String, Vec<String>)) {
        if !self.contexts.contains(&context) {
            self.contexts.push(context);
        }
    }

    fn associate(&self, max_length: u32) -> Result<Associate, Error> {
        let uids =
            self.contexts.iter().flat_map(|(class, syntaxes)| [class].into_iter().chain(syntaxes));
        if !uids.chain(&self.provides).all(|uid| uid::is_valid(uid)) {
            return Err(Error::Invalid("a SOP class or transfer syntax is no UID"));
        }
        if self.contexts.is_empty() || self.contexts.len() > MAX_CONTEXTS {
            return Err(Error::Invalid("an association has 1 to 128 contexts"));
        }
        let role = |class: &String| Role { class: class.clone(), user: false, provider: true };
        let user = UserInformation {
            max_length,
            implementation: IMPLEMENTATION.to_owned(),
            version: IMPLEMENTATION_NAME.to_owned(),
            roles: self.provides.iter().map(role).collect(),
            window: None,
        };
        let mut request = Associate::new(self.called.wire(), self.calling.wire(), user);
        let numbers = (1..=u8::MAX).step_by(2);
        let context = |(id, (class, syntaxes)): (u8, &(String, Vec<String>))| ProposedContext {
            id,
            class: class.clone(),
            syntaxes: syntaxes.clone(),
        };
        request.contexts = numbers.zip(&self.contexts).map(context).collect();
        Ok(request)
    }
}

/// Opens an association over a connection.
///
/// # Errors
///
/// [`Error::Rejected`]: the peer refuses. Other errors are the peer's or the connection's.
pub fn request<S: Stream>(stream: S, proposal: &Proposal) -> Result<Association<S>, Error> {
    let max_pdu = proposal.max_pdu.clamp(MIN_PDU, MAX_PDU);
    let request = proposal.associate(max_pdu)?;
    let mut link = Link::new(stream, proposal.limits, max_pdu);
    let negotiated = negotiate(&mut link, &request);
    let (contexts, user) = link.guard(negotiated)?;
    let peer = Peer {
        calling: proposal.calling.clone(),
        called: proposal.called.clone(),
        implementation: user.implementation,
        version: user.version,
        max_pdu: user.max_length,
    };
    Ok(Association::new(link, contexts, peer))
}

fn negotiate<S: Stream>(
    link: &mut Link<S>,
    request: &Associate,
) -> Result<(Vec<Context>, UserInformation), Error> {
    link.send(Phase::Negotiation, |out| request.put(out))?;
    let accept = match link.receive(Phase::Negotiation)? {
        PduKind::AssociateAccept => Accept::parse(link.body())?,
        PduKind::AssociateReject => return Err(Error::Rejected(Reject::parse(link.short()))),
        PduKind::Abort => return Err(Error::Aborted(Abort::parse(link.short()))),
        found => return Err(Violation::Unexpected { found }.into()),
    };
    link.limit(accept.user.max_length)?;
    Ok((agreed(request, &accept)?, accept.user))
}

/// The contexts that the peer accepts; it may choose nothing that was not proposed.
fn agreed(request: &Associate, accept: &Accept) -> Result<Vec<Context>, Violation> {
    let mut contexts: Vec<Context> = Vec::new();
    for answer in accept.contexts.iter().filter(|context| context.answer == Answer::Acceptance) {
        let id = answer.id;
        let twice = contexts.iter().any(|context| context.id == id);
        let proposed = request.contexts.iter().find(|context| context.id == id);
        match proposed {
            Some(proposed) if !twice && proposed.syntaxes.contains(&answer.syntax) => {
                let (class, syntax) = (proposed.class.clone(), answer.syntax.clone());
                contexts.push(Context { id, class, syntax });
            }
            _ => return Err(Violation::Context { id }),
        }
    }
    Ok(contexts)
}

//! The side that is called: whom it lets in, and to what it agrees.

use monet_dicom::pixels::is_supported;
use monet_dicom::syntax::Syntax;
use monet_dicom::uid;
use monet_dicom::write::{EXPLICIT_LITTLE, IMPLEMENTATION, IMPLEMENTATION_NAME, IMPLICIT_LITTLE};

use crate::association::{Association, Context, Peer};
use crate::error::{Error, Phase, Violation};
use crate::limits::{DEFAULT_PDU, Limits, MAX_PDU, MIN_PDU};
use crate::link::Link;
use crate::pdu::{
    Abort, Accept, Answer, Associate, ContextAnswer, PduKind, ProposedContext, Reject, Role,
    UserInformation,
};
use crate::stream::Stream;
use crate::title::{AeTitle, Titles};
use crate::uids::{self, APPLICATION_CONTEXT};

/// Whom a side that is called lets in, and to what it agrees. Addresses are looked at before, by
/// whoever accepts connections.
pub struct Policy {
    /// This side's titles.
    pub called: Titles,
    /// The peers' titles.
    pub calling: Titles,
    /// Whether titles that differ only in case are different, as the standard has it.
    pub case_sensitive: bool,
    /// Which SOP classes are agreed on.
    pub classes: Box<dyn Fn(&str) -> bool + Send + Sync>,
    /// Transfer syntaxes of stored instances, the best first. Verification and storage commitment
    /// are agreed on in explicit and implicit VR little endian, whatever stands here.
    pub syntaxes: Vec<String>,
    /// Longest P-DATA body that is taken, in bytes, 4 KiB to 256 KiB; an association's memory
    /// follows from it.
    pub max_pdu: u32,
    /// What a peer may take of this side's time.
    pub limits: Limits,
}

impl Default for Policy {
    /// Everybody; verification and storage; uncompressed little endian; PDUs of 64 KiB.
    fn default() -> Self {
        Self {
            called: Titles::Any,
            calling: Titles::Any,
            case_sensitive: true,
            classes: Box::new(|class| uids::is_storage(class) || class == uids::VERIFICATION),
            syntaxes: [EXPLICIT_LITTLE, IMPLICIT_LITTLE].map(str::to_owned).to_vec(),
            max_pdu: DEFAULT_PDU,
            limits: Limits::default(),
        }
    }
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy")
            .field("called", &self.called)
            .field("calling", &self.calling)
            .field("case_sensitive", &self.case_sensitive)
            .field("syntaxes", &self.syntaxes)
            .field("max_pdu", &self.max_pdu)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Whether there is room for one association more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Yes.
    Welcome,
    /// No: there are as many as there can be. The peer may try again.
    LocalLimit,
    /// No: the disk is too full, say. The peer may try again.
    Congestion,
}

/// Negotiates with a peer that has connected. `admit` is asked once titles are known and right.
///
/// # Errors
///
/// [`Error::Refused`]: the peer was told why it is not let in. Other errors are the peer's.
pub fn accept<S: Stream>(
    stream: S,
    policy: &Policy,
    admit: impl FnOnce(&Peer) -> Admission,
) -> Result<Association<S>, Error> {
    let max_pdu = policy.max_pdu.clamp(MIN_PDU, MAX_PDU);
    let mut link = Link::new(stream, policy.limits, max_pdu);
    let negotiated = negotiate(&mut link, policy, max_pdu, admit);
    let (contexts, peer) = link.guard(negotiated)?;
    Ok(Association::new(link, contexts, peer))
}

fn negotiate<S: Stream>(
    link: &mut Link<S>,
    policy: &Policy,
    max_pdu: u32,
    admit: impl FnOnce(&Peer) -> Admission,
) -> Result<(Vec<Context>, Peer), Error> {
    let request = match link.receive(Phase::Negotiation)? {
        PduKind::AssociateRequest => Associate::parse(link.body())?,
        PduKind::Abort => return Err(Error::Aborted(Abort::parse(link.short()))),
        found => return Err(Violation::Unexpected { found }.into()),
    };
    let calling = AeTitle::from_wire(&request.calling).ok();
    let called = AeTitle::from_wire(&request.called).ok();
    let refused = |reject, calling, called| Error::Refused { reject, calling, called };
    let peer = match screen(&request, policy, calling.clone(), called.clone()) {
        Ok(peer) => peer,
        Err(reject) => {
            link.last(|out| reject.put(out));
            return Err(refused(reject, calling, called));
        }
    };
    link.limit(peer.max_pdu)?;
    let reject = match admit(&peer) {
        Admission::Welcome => None,
        Admission::LocalLimit => Some(Reject::LOCAL_LIMIT),
        Admission::Congestion => Some(Reject::CONGESTION),
    };
    if let Some(reject) = reject {
        link.last(|out| reject.put(out));
        return Err(refused(reject, calling, called));
    }
    let (accept, contexts) = agree(&request, policy, max_pdu);
    link.send(Phase::Negotiation, |out| accept.put(out))?;
    Ok((contexts, peer))
}

/// Looks at all of a request but its contexts.
fn screen(
    request: &Associate,
    policy: &Policy,
    calling: Option<AeTitle>,
    called: Option<AeTitle>,
) -> Result<Peer, Reject> {
    if !request.has_version() {
        return Err(Reject::PROTOCOL_VERSION);
    }
    if request.application_context != APPLICATION_CONTEXT {
        return Err(Reject::APPLICATION_CONTEXT);
    }
    let allowed = |titles: &Titles, title: Option<AeTitle>| {
        title.filter(|title| titles.allow(title, policy.case_sensitive))
    };
    let called = allowed(&policy.called, called).ok_or(Reject::CALLED_TITLE)?;
    let calling = allowed(&policy.calling, calling).ok_or(Reject::CALLING_TITLE)?;
    let UserInformation { implementation, version, max_length, .. } = request.user.clone();
    Ok(Peer { calling, called, implementation, version, max_pdu: max_length })
}

/// Answers a request's contexts.
fn agree(request: &Associate, policy: &Policy, max_pdu: u32) -> (Accept, Vec<Context>) {
    let mut agreed = Vec::new();
    let answer = |context: &ProposedContext| {
        let (answer, syntax) = match choose(context, policy) {
            Ok(syntax) => {
                let class = context.class.clone();
                agreed.push(Context { id: context.id, class, syntax: syntax.clone() });
                (Answer::Acceptance, syntax)
            }
            Err(answer) => (answer, IMPLICIT_LITTLE.to_owned()),
        };
        ContextAnswer { id: context.id, answer, syntax }
    };
    let contexts = request.contexts.iter().map(answer).collect();
    let user = UserInformation {
        max_length: max_pdu,
        implementation: IMPLEMENTATION.to_owned(),
        version: IMPLEMENTATION_NAME.to_owned(),
        roles: roles(request, &agreed),
        window: None,
    };
    (Accept { called: request.called, calling: request.calling, contexts, user }, agreed)
}

/// The transfer syntax of a context: the first of this side's list that the peer proposes.
fn choose(context: &ProposedContext, policy: &Policy) -> Result<String, Answer> {
    let ProposedContext { class, syntaxes, .. } = context;
    if !uid::is_valid(class) || !(policy.classes)(class) {
        return Err(Answer::ClassNotSupported);
    }
    let plain = [EXPLICIT_LITTLE, IMPLICIT_LITTLE];
    let proposed = |syntax: &&str| syntaxes.iter().any(|other| other == *syntax);
    let chosen = match class.as_str() {
        uids::VERIFICATION | uids::COMMITMENT => plain.into_iter().find(proposed),
        _ => policy.syntaxes.iter().map(String::as_str).find(proposed),
    };
    chosen.map(str::to_owned).ok_or(Answer::SyntaxesNotSupported)
}

/// Peers report on storage commitment as providers of it; for all else the default roles stay.
fn roles(request: &Associate, agreed: &[Context]) -> Vec<Role> {
    let wanted = |role: &&Role| {
        role.class == uids::COMMITMENT && agreed.iter().any(|context| context.class == role.class)
    };
    request.user.roles.iter().find(wanted).cloned().into_iter().collect()
}

/// The transfer syntaxes that this build's `monet-dicom` decodes, as a list for
/// [`Policy::syntaxes`]: uncompressed ones first, then lossless ones, then lossy ones.
#[must_use]
pub fn decodable() -> Vec<String> {
    let syntaxes = [
        Syntax::ExplicitLittle,
        Syntax::ImplicitLittle,
        Syntax::JpegLosslessFirst,
        Syntax::JpegLossless,
        Syntax::JpegLs,
        Syntax::Jpeg2000Lossless,
        Syntax::Htj2kLossless,
        Syntax::Htj2kLosslessRpcl,
        Syntax::Rle,
        Syntax::Deflated,
        Syntax::DeflatedFrame,
        Syntax::ExplicitBig,
        Syntax::JpegLsNear,
        Syntax::Jpeg2000,
        Syntax::Htj2k,
        Syntax::JpegExtended,
        Syntax::JpegBaseline,
    ];
    let supported = syntaxes.iter().filter(|syntax| is_supported(syntax));
    supported.map(|syntax| syntax.uid().to_owned()).collect()
}

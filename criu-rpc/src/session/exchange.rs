//! `Exchange`: what to do with each message. It reads no socket and waits for nothing, so
//! that a blocking and an asynchronous session can share it.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::tree::Tree;
use crate::error::ProtocolError;
use crate::notify::{Answer, Hook, HookError, Notice, Stage};
use crate::operation::Operation;
use crate::pid::Pid;
use crate::preflight;
use crate::proto;
use crate::reply::Outcome;
use crate::wire;

/// The state of one request.
pub(super) struct Exchange<'a> {
    operation: Operation,
    /// The type of the answer.
    expected: proto::CriuReqType,
    criu: Pid,
    hook: Option<Hook<'a>>,
    as_child: bool,
    has_command: bool,
    stage: Option<Stage>,
    /// The hook's first refusal.
    refusal: Option<(Stage, HookError)>,
    /// The pid that the root of a restored tree is going to have as a child of ours. CRIU
    /// tells of it late, and not at all if it is killed before.
    sought: Option<Pid>,
    /// What a restore has made so far; cleared away unless it is handed over.
    tree: Option<Tree>,
    response: Option<proto::CriuResp>,
}

/// What comes after a message.
pub(super) enum Next {
    Send(Vec<u8>),
    /// CRIU has answered: with success or not.
    Done(bool),
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        request: &proto::CriuReq,
        operation: Operation,
        criu: Pid,
        hook: Option<Hook<'a>>,
        images: Option<BorrowedFd<'_>>,
    ) -> Self {
        let as_child = request
            .opts
            .as_ref()
            .is_some_and(proto::CriuOpts::rst_sibling);
        let has_command = request
            .opts
            .as_ref()
            .is_some_and(|opts| !opts.exec_cmd.is_empty());
        let expected = match request.r#type() {
            // CRIU answers as if it were the other kind (cr-service.c, 4.2).
            proto::CriuReqType::PageServerChld => proto::CriuReqType::PageServer,
            same => same,
        };
        Self {
            operation,
            expected,
            criu,
            hook,
            as_child,
            has_command,
            stage: None,
            refusal: None,
            sought: images.filter(|_| as_child).and_then(preflight::free_root),
            tree: None,
            response: None,
        }
    }

    pub(super) fn operation(&self) -> Operation {
        self.operation
    }

    /// Whether CRIU becomes a command once it has answered.
    pub(super) fn has_command(&self) -> bool {
        self.has_command
    }

    pub(super) fn stage(&self) -> Option<&Stage> {
        self.stage.as_ref()
    }

    pub(super) fn errno(&self) -> Option<i32> {
        self.response
            .as_ref()
            .and_then(|response| response.cr_errno)
    }

    pub(super) fn take_refusal(&mut self) -> Option<(Stage, HookError)> {
        self.refusal.take()
    }

    /// Takes CRIU's next message.
    pub(super) fn take(
        &mut self,
        response: proto::CriuResp,
        fd: Option<OwnedFd>,
    ) -> Result<Next, ProtocolError> {
        match response.r#type() {
            proto::CriuReqType::Notify => {
                let notify = response
                    .notify
                    .ok_or(ProtocolError::Missing { field: "notify" })?;
                Ok(Next::Send(self.notice(Notice::new(notify, self.criu, fd))))
            }
            answered if answered == self.expected => {
                let success = response.success;
                self.response = Some(response);
                Ok(Next::Done(success))
            }
            _ => Err(ProtocolError::UnexpectedType {
                found: response.r#type,
                expected: self.expected.into(),
            }),
        }
    }

    fn notice(&mut self, notice: Notice) -> Vec<u8> {
        let stage = notice.stage().clone();
        self.stage = Some(stage.clone());
        // Several stages carry the root; the first to do so is the moment to take hold of it.
        if let (Operation::Restore, Some(pid), None) = (self.operation, notice.pid(), &self.tree) {
            // It is stopped or waits for CRIU, so its pid cannot have been reused.
            self.tree = Tree::at(pid, self.as_child).ok();
        }
        let answer = match &mut self.hook {
            Some(hook) => hook(notice),
            None => Ok(Answer::Continue),
        };
        match answer {
            Ok(Answer::Externals(externals)) if stage == Stage::QueryExtFiles => {
                wire::encode_externals(&externals)
            }
            Ok(Answer::Externals(_)) => {
                // CRIU would go on without them.
                let error = "external files can be named at query-ext-files only".into();
                self.refusal.get_or_insert((stage, error));
                wire::encode_ack(false)
            }
            Ok(Answer::Continue) => wire::encode_ack(true),
            Err(error) => {
                self.refusal.get_or_insert((stage, error));
                wire::encode_ack(false)
            }
        }
    }

    /// Whether somebody is asked at each stage.
    pub(super) fn has_hook(&self) -> bool {
        self.hook.is_some()
    }

    /// Whether the request can no longer be stopped: the images of a dump are written and
    /// the hook had its say, or the restored tree runs.
    pub(super) fn is_past_return(&self) -> bool {
        match (self.operation, &self.stage) {
            (Operation::Dump, Some(stage)) => *stage == Stage::PostDump,
            (Operation::Restore, Some(stage)) => stage.is_past_return(),
            _ => false,
        }
    }

    /// Whether a restored tree is whole and runs, even though CRIU has given no answer.
    pub(super) fn is_restored(&self) -> bool {
        self.tree.is_some() && self.is_past_return()
    }

    /// The outcome of a request that succeeded.
    pub(super) fn finish(&mut self, has_inventory: bool) -> io::Result<Outcome> {
        self.sought = None;
        let response = self.response.take().unwrap_or_default();
        let root = response
            .restore
            .as_ref()
            .and_then(|restore| Pid::from_raw(restore.pid));
        let tree = match (self.tree.take(), root) {
            (Some(tree), _) => Some(tree),
            (None, Some(pid)) => Some(Tree::at(pid, self.as_child)?),
            (None, None) => None,
        };
        Ok(Outcome {
            response,
            restored: tree.and_then(Tree::into_restored),
            has_inventory,
        })
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        // CRIU has ended by now, and nobody was handed a tree. A failure can tell of one too.
        let told = self
            .response
            .as_ref()
            .and_then(|response| response.restore.as_ref());
        let told = told.and_then(|restore| Pid::from_raw(restore.pid));
        if let (Some(root), true, None) = (told.or(self.sought), self.as_child, &self.tree)
            && preflight::is_our_child(root)
        {
            self.tree = Tree::at(root, true).ok();
        }
    }
}

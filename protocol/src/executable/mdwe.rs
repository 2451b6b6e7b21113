//! The rule that no memory that was written to may be run (prctl(2), `PR_SET_MDWE`).

/// `PR_GET_MDWE`, which reads the rule; Linux has it since 6.3.
pub const PR_GET_MDWE: i32 = 66;

/// The answer.
#[derive(Clone, Copy, Debug)]
pub struct Mdwe(u32);

impl Mdwe {
    /// `PR_MDWE_REFUSE_EXEC_GAIN`.
    const REFUSES: u32 = 1;
    /// `PR_MDWE_NO_INHERIT`.
    const IS_NOT_INHERITED: u32 = 2;

    /// From the result of prctl(2): negative on a kernel that does not know the rule.
    #[inline]
    pub fn from_answer(answer: i32) -> Self {
        Self(u32::try_from(answer).unwrap_or(0))
    }

    /// Whether the rule holds for the process that asked.
    #[inline]
    pub fn holds(self) -> bool {
        self.0 & Self::REFUSES != 0
    }

    /// Whether it holds for what that process starts.
    #[inline]
    pub fn holds_for_children(self) -> bool {
        self.holds() && self.0 & Self::IS_NOT_INHERITED == 0
    }
}

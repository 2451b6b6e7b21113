//! Which variables a program gets: a pure function of this machine's, the workload's and the options.

use super::Variables;
use super::names::{NamePattern, is_local, is_own, is_possible};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};

/// What the options say of a program's environment. The order in which they stand on the command line does not matter,
/// but for several values of one variable, of which the last counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EnvironmentRules {
    /// `--env none`: nothing of the workload's.
    pub(crate) without_workload: bool,
    /// `--env-include`: the workload's, though they stay this machine's by default.
    pub(crate) include: Vec<NamePattern>,
    /// `--env-exclude`: this machine's, whatever else names them.
    pub(crate) exclude: Vec<NamePattern>,
    /// `--hostname local`: HOSTNAME stays this machine's.
    pub(crate) keeps_hostname: bool,
    /// `--unset`: not set, whoever has them.
    pub(crate) unset: BTreeSet<OsString>,
    /// `-e`: set to this, whatever else names them.
    pub(crate) set: Variables,
}

impl EnvironmentRules {
    /// What a program gets besides this machine's own: the workload's variables that these rules let pass, and those of
    /// `-e`.
    pub(crate) fn for_others(&self, workload: &[(OsString, OsString)]) -> Variables {
        let mut variables = Variables::new();
        for (name, value) in workload {
            if self.takes(name) && can_be_held(name, value) {
                // getenv(3) finds the first of several
                variables.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        self.finish(&mut variables);
        variables
    }

    /// A program's whole environment: the workload's over this machine's. A variable that stays this machine's and is
    /// not set here is not set for the program.
    pub(crate) fn for_program(&self, machine: &Variables, workload: &[(OsString, OsString)]) -> Variables {
        let mut variables = machine.clone();
        variables.extend(self.for_others(workload));
        self.finish(&mut variables);
        variables
    }

    /// The names of the workload's variables that no environment can hold.
    pub(crate) fn impossible<'a>(&self, workload: &'a [(OsString, OsString)]) -> Vec<&'a OsStr> {
        workload
            .iter()
            .filter(|(name, value)| self.takes(name) && !can_be_held(name, value))
            .map(|(name, _)| name.as_os_str())
            .collect()
    }

    /// Whether a program gets a variable of the workload's without an option that names it.
    pub(crate) fn takes_by_default(&self, name: &OsStr) -> bool {
        let is_named = self.unset.contains(name) || self.set.contains_key(name);
        self.takes(name) && !is_named && !is_one_of(&self.include, name)
    }

    fn takes(&self, name: &OsStr) -> bool {
        let stays = is_local(name) || self.keeps_hostname && name == "HOSTNAME";
        !self.without_workload
            && !is_own(name)
            && (!stays || is_one_of(&self.include, name))
            && !is_one_of(&self.exclude, name)
    }

    fn finish(&self, variables: &mut Variables) {
        variables.retain(|name, _| !self.unset.contains(name));
        variables.extend(self.set.clone());
    }
}

fn is_one_of(patterns: &[NamePattern], name: &OsStr) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
}

fn can_be_held(name: &OsStr, value: &OsStr) -> bool {
    is_possible(name) && !value.as_encoded_bytes().contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn variables(text: &str) -> Vec<(OsString, OsString)> {
        text.split_whitespace()
            .map(|word| word.split_once('=').unwrap())
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    fn patterns(text: &str) -> Vec<NamePattern> {
        text.split_whitespace()
            .map(|word| NamePattern::parse("--option", word.as_ref()).unwrap())
            .collect()
    }

    fn merged(rules: &EnvironmentRules, machine: &str, workload: &str) -> String {
        let machine: Variables = variables(machine).into_iter().collect();
        let merged = rules.for_program(&machine, &variables(workload));
        let words: Vec<String> = merged
            .iter()
            .map(|(name, value)| format!("{}={}", name.display(), value.display()))
            .collect();
        words.join(" ")
    }

    #[test]
    fn workload_variable_wins_over_the_machines() {
        let rules = EnvironmentRules::default();
        assert_eq!(
            merged(&rules, "DB=local EDITOR=vi", "DB=remote TOKEN=t"),
            "DB=remote EDITOR=vi TOKEN=t"
        );
    }

    #[test]
    fn local_variable_keeps_the_machines_value_and_is_unset_where_the_machine_has_none() {
        let rules = EnvironmentRules::default();
        assert_eq!(
            merged(&rules, "PATH=/here", "PATH=/there JAVA_HOME=/jdk HOSTNAME=pod"),
            "HOSTNAME=pod PATH=/here"
        );
        let rules = EnvironmentRules {
            keeps_hostname: true,
            ..rules
        };
        assert_eq!(merged(&rules, "", "HOSTNAME=pod"), "");
    }

    #[test]
    fn included_local_variable_is_the_workloads_and_excluded_one_the_machines() {
        let rules = EnvironmentRules {
            include: patterns("JAVA_* LC_ALL"),
            exclude: patterns("HTTP*_PROXY JAVA_OPTS LC_ALL"),
            ..EnvironmentRules::default()
        };
        assert_eq!(
            merged(
                &rules,
                "HTTP_PROXY=here LC_ALL=C",
                "HTTP_PROXY=there HTTPS_PROXY=there JAVA_HOME=/jdk JAVA_OPTS=x LC_ALL=de"
            ),
            "HTTP_PROXY=here JAVA_HOME=/jdk LC_ALL=C"
        );
    }

    #[test]
    fn variable_is_taken_by_default_unless_an_option_names_it() {
        let rules = EnvironmentRules {
            include: patterns("IN*"),
            exclude: patterns("EX*"),
            unset: ["UNSET".into()].into(),
            set: variables("SET=x").into_iter().collect(),
            ..EnvironmentRules::default()
        };
        for (name, is_taken) in [
            ("A", true),
            ("IN", false),
            ("EX", false),
            ("UNSET", false),
            ("SET", false),
            ("PATH", false),
        ] {
            assert_eq!(rules.takes_by_default(OsStr::new(name)), is_taken, "{name}");
        }
    }

    #[test]
    fn linker_and_kinject_variables_stay_the_machines_though_a_pattern_covers_them() {
        let rules = EnvironmentRules {
            include: patterns("*"),
            ..EnvironmentRules::default()
        };
        assert_eq!(
            merged(
                &rules,
                "LD_PRELOAD=/here.so PATH=/here",
                "LD_PRELOAD=/there.so LD_LIBRARY_PATH=/there KINJECT_SOCKET=/s PATH=/there"
            ),
            "LD_PRELOAD=/here.so PATH=/there"
        );
    }

    #[test]
    fn set_variable_wins_over_unset_and_workload_and_unset_over_both_environments() {
        let rules = EnvironmentRules {
            unset: ["A", "B", "C"].map(OsString::from).into(),
            set: variables("A=set D=set").into_iter().collect(),
            ..EnvironmentRules::default()
        };
        assert_eq!(
            merged(&rules, "A=here B=here X=here", "A=there C=there D=there"),
            "A=set D=set X=here"
        );
    }

    #[test]
    fn env_none_leaves_the_machines_environment_but_for_set_and_unset() {
        let rules = EnvironmentRules {
            without_workload: true,
            include: patterns("*"),
            set: variables("E=set").into_iter().collect(),
            ..EnvironmentRules::default()
        };
        assert_eq!(merged(&rules, "A=here", "A=there B=there"), "A=here E=set");
    }

    #[test]
    fn environment_for_other_programs_has_nothing_of_the_machines() {
        let rules = EnvironmentRules {
            set: variables("E=set").into_iter().collect(),
            ..EnvironmentRules::default()
        };
        let found = rules.for_others(&variables("A=there PATH=/there A=second"));
        let expected: Variables = variables("A=there E=set").into_iter().collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn variables_that_no_environment_can_hold_are_dropped_and_named() {
        let workload: Vec<(OsString, OsString)> =
            [("", "x"), ("A=B", "x"), ("N\0", "x"), ("V", "a\0b"), ("OK", "y")]
                .map(|(name, value)| (name.into(), value.into()))
                .into();
        let rules = EnvironmentRules::default();
        assert_eq!(rules.impossible(&workload), ["", "A=B", "N\0", "V"]);
        assert_eq!(rules.for_others(&workload).len(), 1);
        let rules = EnvironmentRules {
            exclude: patterns("V"),
            ..rules
        };
        assert_eq!(rules.impossible(&workload).len(), 3);
    }

    fn name() -> impl Strategy<Value = OsString> {
        prop::sample::select(vec!["A", "B", "PATH", "JAVA_HOME", "LD_PRELOAD", "HOSTNAME"])
            .prop_map(OsString::from)
    }

    fn environment() -> impl Strategy<Value = Vec<(OsString, OsString)>> {
        prop::collection::vec((name(), "[xyz]{0,2}".prop_map(OsString::from)), 0..8)
    }

    proptest! {
        #[test]
        fn every_value_is_the_options_or_the_workloads_or_the_machines(
            machine in environment(), workload in environment(), set in environment(),
            unset in prop::collection::btree_set(name(), 0..3),
        ) {
            let rules = EnvironmentRules {
                unset: unset.clone(),
                set: set.into_iter().collect(),
                ..EnvironmentRules::default()
            };
            let machine: Variables = machine.into_iter().collect();
            let merged = rules.for_program(&machine, &workload);
            for (name, value) in &merged {
                match rules.set.get(name) {
                    Some(set) => prop_assert_eq!(value, set),
                    None => {
                        prop_assert!(!unset.contains(name));
                        let theirs = workload.iter().find(|(known, _)| known == name).map(|(_, value)| value);
                        let expected = match is_local(name) || is_own(name) {
                            true => machine.get(name),
                            false => theirs.or_else(|| machine.get(name)),
                        };
                        prop_assert_eq!(Some(value), expected);
                    }
                }
            }
        }
    }
}

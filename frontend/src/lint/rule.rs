//! The rules by name. Names and descriptions are those of BuildKit, because scripts look for them; the rules at the end
//! are our own.

/// What a check looks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// The name in the ecosystem: `FromAsCasing`.
    pub name: &'static str,
    /// What the rule asks for, in one sentence.
    pub description: &'static str,
    /// It can be wrong, and is silent until a file asks for it with `experimental=`.
    pub experimental: bool,
}

impl Rule {
    /// The page that explains the rule, relative to the root of the project.
    pub fn page(&self) -> String {
        format!("docs/checks/{}.md", self.name)
    }
}

const fn rule(name: &'static str, description: &'static str) -> Rule {
    Rule { name, description, experimental: false }
}

const fn experimental(name: &'static str, description: &'static str) -> Rule {
    Rule { name, description, experimental: true }
}

macro_rules! rules {
    ($($constant:ident = $rule:expr;)*) => {
        $(pub(super) static $constant: Rule = $rule;)*

        /// Every rule there is, BuildKit's first.
        pub static RULES: &[&Rule] = &[$(&$constant),*];
    };
}

rules! {
    STAGE_NAME_CASING = rule("StageNameCasing", "Stage names should be lowercase");
    FROM_AS_CASING = rule("FromAsCasing", "The 'as' keyword should match the case of the 'from' keyword");
    NO_EMPTY_CONTINUATION =
        rule("NoEmptyContinuation", "Empty continuation lines will become errors in a future release");
    CONSISTENT_INSTRUCTION_CASING = rule(
        "ConsistentInstructionCasing",
        "All commands within the Dockerfile should use the same casing (either upper or lower)",
    );
    DUPLICATE_STAGE_NAME = rule("DuplicateStageName", "Stage names should be unique");
    RESERVED_STAGE_NAME = rule("ReservedStageName", "Reserved words should not be used as stage names");
    JSON_ARGS_RECOMMENDED = rule(
        "JSONArgsRecommended",
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    );
    MAINTAINER_DEPRECATED = rule(
        "MaintainerDeprecated",
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    );
    UNDEFINED_ARG_IN_FROM = rule("UndefinedArgInFrom", "FROM command must use declared ARGs");
    WORKDIR_RELATIVE_PATH = rule(
        "WorkdirRelativePath",
        "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base \
         image changes",
    );
    UNDEFINED_VAR = rule("UndefinedVar", "Variables should be defined before their use");
    MULTIPLE_INSTRUCTIONS_DISALLOWED = rule(
        "MultipleInstructionsDisallowed",
        "Multiple instructions of the same type should not be used in the same stage",
    );
    LEGACY_KEY_VALUE_FORMAT =
        rule("LegacyKeyValueFormat", "Legacy key/value format with whitespace separator should not be used");
    INVALID_BASE_IMAGE_PLATFORM =
        rule("InvalidBaseImagePlatform", "Base image platform does not match expected target platform");
    REDUNDANT_TARGET_PLATFORM = rule(
        "RedundantTargetPlatform",
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    );
    SECRETS_USED_IN_ARG_OR_ENV =
        rule("SecretsUsedInArgOrEnv", "Sensitive data should not be used in the ARG or ENV commands");
    INVALID_DEFAULT_ARG_IN_FROM = rule(
        "InvalidDefaultArgInFrom",
        "Default value for global ARG results in an empty or invalid base image name",
    );
    FROM_PLATFORM_FLAG_CONST_DISALLOWED =
        rule("FromPlatformFlagConstDisallowed", "FROM --platform flag should not use a constant value");
    COPY_IGNORED_FILE = rule("CopyIgnoredFile", "Attempting to Copy file that is excluded by .dockerignore");
    INVALID_DEFINITION_DESCRIPTION = experimental(
        "InvalidDefinitionDescription",
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is \
         not intended to be a description comment, add an empty line or comment between the instruction and the comment.",
    );
    EXPOSE_PROTO_CASING = rule("ExposeProtoCasing", "Protocol in EXPOSE instruction should be lowercase");
    EXPOSE_INVALID_FORMAT = rule(
        "ExposeInvalidFormat",
        "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a \
         future release",
    );
    COPY_OVERWRITTEN =
        experimental("CopyOverwritten", "Files that a later COPY replaces should not be copied in the first place");
    APT_GET_UPDATE_ALONE =
        experimental("AptGetUpdateAlone", "Package lists should be updated in the RUN that installs from them");
    SECRET_IN_LAYER = experimental("SecretInLayer", "Files with credentials should not be copied into a layer");
    COPY_BEFORE_DEPENDENCY_INSTALL = experimental(
        "CopyBeforeDependencyInstall",
        "Dependencies should be installed before the whole context is copied, so that an edit does not install them again",
    );
}

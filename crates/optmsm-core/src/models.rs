//! The architectures: a file, or a file with a folder of parts, and one line each.
//!
//! A file has the model's settings with their checks ([`ModelConfig`] has them in a table of the kind's name), its forward and
//! backward pass, its gradient cases, and `ABOUT`. docs/models.md has the definitions.

pub mod adasparse;
pub mod apg;
mod cost;
pub mod dcnv2;
pub mod dnn;
pub mod epnet;
pub mod hamur;
pub mod hmoe;
pub mod m2m;
pub mod m3oe;
pub mod mmoe;
pub mod optmsm;
pub mod pepnet;
pub mod ple;
pub mod ppnet;
pub mod sarnet;
pub mod separate;
pub mod shared_bottom;
pub mod star;

use serde::{Deserialize, Serialize, Serializer};

use crate::backend::Backend;
use crate::config::{EmbeddingsConfig, ExpertsConfig, HyperConfig, InputSpec, Role, TowerConfig, check};
use crate::error::{Error, Result};
use crate::gradcheck::Case;
use crate::layers::EmbeddingConfig;
use crate::model::AnyModel;
use crate::rounding::TableDtype;

pub use cost::Cost;
pub use optmsm::{Activation, Combine, OptMsm, SpecificConfig};

/// An architecture in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// One line.
    pub title: &'static str,
    /// Authors, venue, year.
    pub paper: &'static str,
    /// The forward pass, in the symbols of docs/models.md.
    pub forward: &'static str,
}

macro_rules! kinds {
    ($($(#[$meta:meta])* $name:ident: $Model:ident $(, $Config:ident)?;)*) => {
        /// `model.kind`: the architecture.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum Kind {
            $(
                #[doc = concat!("[`", stringify!($name), "::", stringify!($Model), "`].")]
                $(#[$meta])*
                $Model,
            )*
        }

        impl Kind {
            /// All kinds, in the order of docs/models.md.
            pub const ALL: &[Kind] = &[$(Kind::$Model),*];

            /// As in a configuration.
            pub fn name(self) -> &'static str {
                match self {
                    $(Kind::$Model => stringify!($name),)*
                }
            }

            /// The architecture in words.
            pub fn about(self) -> About {
                match self {
                    $(Kind::$Model => $name::ABOUT,)*
                }
            }

            /// Cases that check its gradients, over its options.
            pub fn cases(self) -> Vec<Case> {
                match self {
                    $(Kind::$Model => $name::cases(),)*
                }
            }
        }

        /// `[model]`: the kind, settings of the embeddings that all kinds have, and those of each kind. OptMSM's stand in
        /// `[model]` itself, those of another kind in a table of its name.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct ModelConfig {
            /// The architecture.
            #[serde(skip_serializing_if = "is_default")]
            pub kind: Kind,
            /// d: width of one field's embedding.
            pub embedding_dim: usize,
            /// Standard deviation of the initial embedding rows.
            pub init_std: f64,
            /// OptMSM's λ: weight of the orthogonality penalty in the loss.
            pub orthogonality: f64,
            /// How the outputs of OptMSM's experts become one vector.
            pub combine: Combine,
            /// Embedding tables.
            #[serde(skip_serializing_if = "EmbeddingsConfig::is_default")]
            pub embeddings: EmbeddingsConfig,
            /// Function behind the last layer of OptMSM's experts.
            #[serde(skip_serializing_if = "is_default")]
            pub expert_output: Activation,
            /// OptMSM's shared-information experts.
            pub experts: ExpertsConfig,
            /// OptMSM's specific-information encoding.
            pub specific: SpecificConfig,
            /// OptMSM's prediction tower.
            pub tower: TowerConfig,
            /// The hypernetwork that generates OptMSM's tower.
            pub hyper: HyperConfig,
            $($(
                #[doc = concat!("[`", stringify!($name), "::", stringify!($Model), "`].")]
                #[serde(skip_serializing_if = "is_default")]
                pub $name: $name::$Config,
            )?)*
        }

        impl Default for ModelConfig {
            fn default() -> Self {
                Self {
                    kind: Kind::default(),
                    embedding_dim: 16,
                    init_std: 0.01,
                    orthogonality: 0.1,
                    combine: Combine::Gate,
                    embeddings: EmbeddingsConfig::default(),
                    expert_output: Activation::default(),
                    experts: ExpertsConfig::default(),
                    specific: SpecificConfig::default(),
                    tower: TowerConfig::default(),
                    hyper: HyperConfig::default(),
                    $($($name: $name::$Config::default(),)?)*
                }
            }
        }

        impl ModelConfig {
            /// The same with the settings of other kinds, which are not read, as they are by default.
            pub fn read(&self) -> Self {
                let (kind, plain) = (self.kind, Self::default());
                let own = if kind == Kind::OptMsm { self } else { &plain };
                Self {
                    kind,
                    embedding_dim: self.embedding_dim,
                    init_std: self.init_std,
                    embeddings: self.embeddings.clone(),
                    orthogonality: own.orthogonality,
                    combine: own.combine,
                    expert_output: own.expert_output,
                    experts: own.experts.clone(),
                    specific: own.specific.clone(),
                    tower: own.tower.clone(),
                    hyper: own.hyper.clone(),
                    $($($name: if kind == Kind::$Model { self.$name.clone() } else { $name::$Config::default() },)?)*
                }
            }

            /// Tables and keys that differ from what they are by default, and that this kind does not read.
            pub fn unread(&self) -> Vec<&'static str> {
                let plain = Self::default();
                let mut unread = Vec::new();
                let mut check = |key, same: bool| if !same { unread.push(key) };
                if self.kind != Kind::OptMsm {
                    check("model.orthogonality", self.orthogonality == plain.orthogonality);
                    check("model.combine", self.combine == plain.combine);
                    check("model.expert_output", self.expert_output == plain.expert_output);
                    check("model.experts", self.experts == plain.experts);
                    check("model.specific", self.specific == plain.specific);
                    check("model.tower", self.tower == plain.tower);
                    check("model.hyper", self.hyper == plain.hyper);
                }
                $($(
                    if self.kind != Kind::$Model {
                        check(concat!("model.", stringify!($name)), self.$name == $name::$Config::default());
                    }
                )?)*
                unread
            }

            /// Serializes the settings of the kind alone; those of OptMSM with the common ones beside which they stand.
            ///
            /// # Errors
            /// Those of the serializer.
            pub fn serialize_own<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
                match self.kind {
                    $($(Kind::$Model => <$name::$Config as Serialize>::serialize(&self.$name, to),)?)*
                    Kind::OptMsm => self.read().serialize(to),
                }
            }

            /// Checks every setting that is read against the others and against the inputs.
            ///
            /// # Errors
            /// The first one that cannot work.
            pub fn validate(&self, input: &InputSpec) -> Result<()> {
                self.validate_embeddings()?;
                input.validate()?;
                match self.kind {
                    $(Kind::$Model => $name::validate(self, input),)*
                }
            }
        }

        /// A model of the configured kind.
        ///
        /// # Errors
        /// As [`ModelConfig::validate`].
        pub fn build<B: Backend>(config: &ModelConfig, input: &InputSpec) -> Result<AnyModel<B>> {
            // Each constructor checks its settings.
            Ok(match config.kind {
                $(Kind::$Model => AnyModel::new($name::$Model::new(config, input)?),)*
            })
        }
    };
}

kinds! {
    #[serde(rename = "optmsm")] #[default] optmsm: OptMsm;
    dnn: Dnn, DnnConfig;
    shared_bottom: SharedBottom, SharedBottomConfig;
    mmoe: Mmoe, MmoeConfig;
    epnet: Epnet, EpnetConfig;
    star: Star, StarConfig;
    separate: Separate, SeparateConfig;
    dcnv2: Dcnv2, Dcnv2Config;
    ppnet: Ppnet, PpnetConfig;
    pepnet: Pepnet, PepnetConfig;
    sarnet: Sarnet, SarnetConfig;
    hmoe: Hmoe, HmoeConfig;
    ple: Ple, PleConfig;
    adasparse: Adasparse, AdasparseConfig;
    m3oe: M3oe, M3oeConfig;
    hamur: Hamur, HamurConfig;
    m2m: M2m, M2mConfig;
    apg: Apg, ApgConfig;
}

/// Settings of the default kind for a new configuration, which follow those of all kinds in `[model]`: for a data set with
/// `scenarios` scenarios, of which `most` are worth parameters of their own, and many or `few_rows`.
pub fn starter(scenarios: usize, most: usize, few_rows: bool) -> String {
    optmsm::starter(scenarios, most, few_rows)
}

/// The settings of a model of this kind, checked; whatever kind they name.
///
/// # Errors
/// As [`ModelConfig::validate`].
fn checked(kind: Kind, config: &ModelConfig, input: &InputSpec) -> Result<ModelConfig> {
    let config = ModelConfig { kind, ..config.clone() };
    config.validate(input)?;
    Ok(config)
}

fn is_default<T: Default + PartialEq>(v: &T) -> bool {
    *v == T::default()
}

impl ModelConfig {
    /// Settings of the embeddings.
    pub fn embedding(&self) -> EmbeddingConfig {
        EmbeddingConfig { dim: self.embedding_dim, init_std: self.init_std, dtype: self.embeddings.dtype }
    }

    /// The same without the penalty of the kind; none if it has no penalty.
    pub fn without_penalty(&self) -> Option<Self> {
        let mut plain = self.clone();
        match self.kind {
            Kind::OptMsm => plain.orthogonality = 0.0,
            Kind::Adasparse => plain.adasparse.sparsity = 0.0,
            _ => return None,
        }
        Some(plain)
    }

    /// Checks that the kind has fields of the roles that it reads: all that can be said before the data is read.
    ///
    /// # Errors
    /// When it has not.
    pub fn validate_roles(&self, roles: impl Iterator<Item = Role>) -> Result<()> {
        if self.kind == Kind::OptMsm { optmsm::validate_roles(roles) } else { Ok(()) }
    }

    fn validate_embeddings(&self) -> Result<()> {
        check::width("model.embedding_dim", self.embedding_dim)?;
        check::at_least_zero("model.init_std", self.init_std)?;
        // The largest normal that a 32-bit uniform gives: √(2 ln 2³³) < 6.77.
        if self.embeddings.dtype == TableDtype::F16 && 6.77 * self.init_std > 65_504.0 {
            let problem = format!("{} makes rows that f16 cannot hold (up to 65504)", self.init_std);
            let fix = "lower it, or set model.embeddings.dtype = \"bf16\"";
            return Err(Error::config("model.init_std", problem, fix));
        }
        Ok(())
    }
}
